"""What says whether a rehearsed run has learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep.rehearsal.learned import main


def write(run: Path, *scorings: tuple[int, dict[str, float]]) -> Path:
    lines = [
        {
            "kind": "evaluation",
            "step": tokens // 512,
            "tokens": tokens,
            "stage": "stage1",
            "accuracy": dict.fromkeys(bits, 0.25),
            "bits_per_byte": bits,
            "items": 4,
            "scored_tokens": 100,
            "evaluation_seconds": 0.5,
            "share_of_time": 0.1,
        }
        for tokens, bits in scorings
    ]
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_each_task_is_compared_with_what_the_run_began_as(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run", (0, {"piqa": 4.0, "boolq": 3.0}), (512, {"piqa": 5.0}), (1024, {"piqa": 2.5}))
    assert main([str(run)]) == 0
    assert capsys.readouterr().out == "piqa: right answers take 2.5000 bits a byte after 1,024 tokens, 4.0000 before\n"


@pytest.mark.parametrize("after", [4.0, 4.5])
def test_nothing_learnt_is_an_error(after: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run", (0, {"piqa": 4.0}), (1024, {"piqa": after}))
    assert main([str(run)]) == 2
    assert "piqa: its right answers take 4." in capsys.readouterr().err


def test_a_run_without_tasks_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, scorings in enumerate([(), ((512, {"piqa": 4.0}),)]):
        assert main([str(write(tmp_path / str(number), *scorings))]) == 0
        assert "no task was scored before its first step (trainer.evaluate)" in capsys.readouterr().out
