"""`danube evaluate` on a run: what it leaves there, and that it is noted once, also where it was killed before that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custom_modules.evaluation.ledger import entries
from custom_modules.evaluation.results import RESULTS, SAMPLES, read_results, read_samples
from custom_modules.run_folder.ownership import EVALUATIONS
from tests.support.evaluated import Evaluated, own_items, write_items


@pytest.mark.slow
def test_an_evaluation_of_a_run_is_noted_once(evaluated: Evaluated, danube: Callable[..., Any], tmp_path: Path) -> None:
    run = Path(shutil.copytree(evaluated.run, tmp_path / "run"))
    for name in ("rivers", "lakes"):
        write_items(tmp_path / f"{name}.jsonl", own_items(12, seed=len(name)))
    tasks = [{"task": name, "metric": "acc", "file": f"{name}.jsonl"} for name in ("rivers", "lakes")]
    averages = [{"name": "Of both", "tasks": ["rivers", "lakes"]}]
    suite = tmp_path / "waters.yaml"
    suite.write_text(json.dumps({"title": "Waters", "tasks": tasks, "averages": averages}))
    words = ["evaluate", str(run), "--suite", str(suite), "--accelerator", "cpu"]
    first = danube(*words)
    assert first.returncode == 0, first.stderr
    [folder] = (run / "evaluation").glob("tokens_*/waters")
    assert {"figure.png", "table.json", "table.md", RESULTS, SAMPLES} <= {path.name for path in folder.iterdir()}
    assert first.stdout == (folder / "table.md").read_text() and "| Of both" in first.stdout
    results = read_results(folder)
    assert results.averages == {"Of both": ["rivers", "lakes"]} and len(read_samples(folder)) == 24
    [entry] = entries(run)
    assert (entry.suite, entry.consumed_tokens, entry.weights) == ("waters", results.consumed_tokens, results.weights)
    assert entry.values == {f"{task.task}/0": task.value for task in results.tasks}
    (run / EVALUATIONS).unlink()
    again = danube(*words)
    assert again.returncode == 0
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1], "but for the seconds that it took"
    assert [one.values for one in entries(run)] == [entry.values]
