"""What a run is validated on stays what it began with, at every length."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.data.validation_set import read_validation
from tests.support.commands import run_danube
from tests.support.runs import assert_same_run, checkpoints, read_metrics
from tests.support.tiny import TINY

Arguments = Callable[..., list[str]]
STAGE_1 = "curriculum.stage=stage1"


def without_limits(run_dir: Path) -> None:
    """Make the run one that a version before 0.2 began: its checkpoints say nothing of a set."""
    for checkpoint in checkpoints(run_dir):
        metadata = json.loads((checkpoint / "metadata.json").read_text())
        del metadata["progress"]["validation_limits"]
        (checkpoint / "metadata.json").write_text(json.dumps(metadata))


@pytest.mark.slow
def test_all_stages_are_validated_on_the_same_bytes(tiny: Arguments, tmp_path: Path) -> None:
    done = run_danube(*tiny("run"))
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run").glob("index_cache/*/validation.npz")
    chosen = read_validation(path)
    tokens, size = sum(chosen.tokens.values()), sum(chosen.text_bytes.values())
    assert 900 < tokens <= 1024
    points = read_metrics(tmp_path / "run", "validation")
    assert {point["seq_length"] for point in points} == {32, 64}
    for point in points:
        assert point["bits_per_byte"] == pytest.approx(point["loss"] * tokens / size / math.log(2), rel=1e-6)
        assert point["sources"] is None
    assert done.stderr.count(f"over {tokens:,} tokens") == len(points)
    assert f"{points[-1]['bits_per_byte']:.4f} bits a byte" in done.stderr


@pytest.mark.slow
def test_another_limit_later_changes_nothing(tiny: Arguments, tmp_path: Path) -> None:
    assert run_danube(*tiny("plain")).returncode == 0
    assert run_danube(*tiny("run", STAGE_1)).returncode == 0
    for file in (tmp_path / "run/index_cache").glob("*/validation.npz"):
        file.unlink()
        file.parent.rmdir()
    done = run_danube(*tiny("run", "trainer.limit_val_tokens=300"))
    assert done.returncode == 0
    assert "validation stays on the 1,024 tokens that this run began with" in done.stderr
    assert_same_run(tmp_path / "plain", tmp_path / "run")


@pytest.mark.slow
def test_a_run_of_the_version_before_keeps_its_validation(tiny: Arguments, tmp_path: Path) -> None:
    """It read whole windows of both stages' splits."""
    assert run_danube(*tiny("run", STAGE_1)).returncode == 0
    without_limits(tmp_path / "run")
    done = run_danube(*tiny("run"))
    assert done.returncode == 0, done.stderr
    last = read_metrics(tmp_path / "run", "validation")[-1]
    assert last["bits_per_byte"] is None
    assert "over 1,024 tokens" in done.stderr


@pytest.mark.slow
def test_a_run_of_the_version_before_hears_at_once_of_a_later_stage(tiny: Arguments, tmp_path: Path) -> None:
    """What its second stage evaluates at a time is more than it may read: told in the first, with what is enough."""
    assert run_danube(*tiny("run", STAGE_1)).returncode == 0
    last = checkpoints(tmp_path / "run")[-1]
    for checkpoint in checkpoints(tmp_path / "run")[1:]:
        shutil.rmtree(checkpoint)
    without_limits(tmp_path / "run")
    words = ["trainer.limit_val_tokens=128", "curriculum.stages.stage2.micro_batch_size=4"]
    done = run_danube(*tiny("run", *words))
    assert done.returncode == 2
    assert "trainer.limit_val_tokens=128: stage2 evaluates 8 sequences of 64 at a time" in done.stderr
    assert not last.exists()
    (remedy,) = re.findall(r"; set (.*)", done.stderr)
    assert run_danube(*tiny("run", *words, *remedy.split(" and "))).returncode == 0


@pytest.mark.slow
def test_a_limit_that_no_document_is_within(prepared: Path, tiny: Arguments, tmp_path: Path) -> None:
    """Preparing, planning and starting say it, and what is enough."""
    too_low = "trainer.limit_val_tokens=3"
    problem = "trainer.limit_val_tokens=3: no validation document of"
    planned = run_danube("plan", *tiny("run", too_low)[1:])
    assert planned.returncode == 0
    assert problem in planned.stdout
    started = run_danube(*tiny("run", too_low))
    assert started.returncode == 2
    assert problem in started.stderr
    text = [
        f"data.input={prepared.parent / 'text.jsonl'}",
        f"model.tokenizer.model={prepared.parent / 'tokenizer.model'}",
    ]
    made = run_danube("prepare", *tiny("run", too_low, *text, f"data.dir={tmp_path / 'data'}")[1:])
    assert made.returncode == 0, made.stderr
    assert problem in made.stderr
    (remedy,) = re.findall(r"; set (.*) or more", started.stderr)
    assert run_danube(*tiny("run", STAGE_1, remedy)).returncode == 0


@pytest.mark.slow
def test_named_sources_have_losses_of_their_own(prepared: Path, tiny: Arguments, tmp_path: Path) -> None:
    lines = (prepared.parent / "text.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "web.jsonl").write_text("".join(lines[:250]))
    (tmp_path / "books.jsonl").write_text("".join(lines[250:]))
    sources = [f"data.sources.{name}={tmp_path / name}.jsonl" for name in ("web", "books")]
    words = ["data.input=null", *sources, f"data.dir={tmp_path / 'data'}", "data.validation_fraction=0.2"]
    words += [f"model.tokenizer.model={prepared.parent / 'tokenizer.model'}", "data.train_tokenizer=false"]
    done = run_danube("prepare", "--config-name", "danube_rehearsal", *TINY, *words)
    assert done.returncode == 0, done.stderr
    runs = {"one": ["trainer.devices=1"], "two": ["trainer.devices=2"]}
    for name, devices in runs.items():
        done = run_danube(*tiny(name, STAGE_1, *words, *devices))
        assert done.returncode == 0, done.stderr
    (one,), (two,) = ([read_metrics(tmp_path / name, "validation")[-1]] for name in runs)
    (path,) = (tmp_path / "one").glob("index_cache/*/validation.npz")
    tokens = read_validation(path).tokens
    assert one["sources"].keys() == {"web", "books"}
    mean = sum(one["sources"][name] * tokens[name] for name in tokens) / sum(tokens.values())
    assert one["loss"] == pytest.approx(mean, rel=1e-6)
    assert two["sources"] == pytest.approx(one["sources"], rel=1e-6)
    assert one["sources"]["web"] != one["sources"]["books"]
    assert f"  web {one['sources']['web']:.4f}  books {one['sources']['books']:.4f}" in done.stderr
