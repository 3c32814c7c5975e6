"""The page's section of suites: the ledger in words and rows, and the newest table of each suite."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest

from custom_modules.evaluation.ledger import note
from custom_modules.evaluation.results import RESULTS, Results
from custom_modules.report import draw
from custom_modules.report.evaluations import render_evaluations
from tests.support.evaluations import LOKILM, suite_results


def finished(tokens: int, value: float, suite: str = "lokilm-table1") -> Results:
    words = {"suite": suite, "kind": "run", "consumed_tokens": tokens, "weights": f"{tokens:064x}", "model": "runs/<l>"}
    return suite_results(LOKILM, dict.fromkeys(LOKILM, value), dict.fromkeys(LOKILM, 0.01), **words)


def publish(run: Path, results: Results) -> None:
    folder = run / "evaluation" / f"tokens_{results.consumed_tokens:018d}" / results.suite
    folder.mkdir(parents=True)
    (folder / RESULTS).write_text(results.model_dump_json())
    note(run, results)


def test_a_run_that_no_suite_was_run_on_has_no_section(tmp_path: Path) -> None:
    assert render_evaluations(tmp_path, None) == ""
    assert render_evaluations(tmp_path, {"trainer": {"evaluate": {"tasks": ["piqa"]}}}) == ""


@pytest.mark.slow
def test_the_ledger_and_the_newest_tables_are_in_the_page(tmp_path: Path) -> None:
    record = {"kind": "train", "step": 1, "tokens": 9, "stage": "s", "seq_length": 4, "loss": 2.0, "learning_rate": 0.1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps({**record, "tokens_per_second": 1.0}) + "\n")
    publish(tmp_path, finished(1_000, 0.25))
    page = unescape(render_evaluations(tmp_path, None))
    assert "lokilm-table1 was run once, on one checkpoint." in page
    publish(tmp_path, finished(2_000, 0.75))
    publish(tmp_path, finished(1_500, 0.5, "mine"))
    raw = draw(tmp_path)[1].read_text()
    page = unescape(raw)
    assert (
        "lokilm-table1 was run 2 times, on 2 checkpoints." in page and "mine was run once, on one checkpoint." in page
    )
    assert "<td>2,000</td><td>paper</td><td>none</td><td>all</td><td>75.00</td>" in page
    assert "LokiLM, section 3.1, Table 1" in page and "75.00 ± 1.00" in page
    assert "<td>25.00 ± 1.00</td>" not in page, "of an older checkpoint"
    assert raw.count("data:image/png;base64,") == 3, "the curves, and bars a suite"
    assert "runs/&lt;l&gt;" in raw and "runs/<l>" not in raw


def test_what_the_run_itself_looked_at_is_said(tmp_path: Path) -> None:
    publish(tmp_path, finished(1_000, 0.25))
    (tmp_path / "evaluation" / f"tokens_{1_000:018d}" / "lokilm-table1" / RESULTS).write_text("{}")
    page = unescape(render_evaluations(tmp_path, {"trainer": {"evaluate": {"tasks": ["piqa", "boolq"]}}}))
    assert "While it trained, piqa, boolq were scored (trainer.evaluate)." in page
    assert f"{RESULTS}: suite: Field required; evaluate again" in page
