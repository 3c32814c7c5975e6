"""What a suite costs, before anything runs."""

from __future__ import annotations

import re

import pytest

from custom_modules.cli import main
from custom_modules.evaluation.cost import seconds_by_flops
from tests.support.evaluated import SHAPE, Evaluated

Say = pytest.CaptureFixture[str]


def test_of_a_recipe_on_other_gpus(capsys: Say) -> None:
    words = ["plan", "--suite", "open-llm-leaderboard", "--mfu", "0.5"]
    assert main([*words, "--gpu", "A100", "trainer.devices=1"]) == 0
    tokens, duration = capsys.readouterr().out.splitlines()
    assert tokens.startswith("open-llm-leaderboard: 61,000,000 tokens scored, about 200,000 generated")
    # 2 FLOPs a token and parameter but for the embedding's, over half of 312 TFLOP/s.
    seconds = 2 * (1_831_201_280 - 32_000 * 2_560) * 61e6 / (312e12 * 0.5)
    minutes, rest = divmod(round(seconds), 60)
    assert duration.startswith(f"by FLOPs 0:{minutes:02d}:{rest:02d} on 1 x A100 80GB at an assumed 50% of its peak")
    assert "not measured" in duration
    assert seconds_by_flops(10**15, 4, "H100", 0.5) == pytest.approx(10**15 / (989.4e12 * 0.5 * 4))


def test_counted_on_data(evaluated: Evaluated, capsys: Say) -> None:
    model = evaluated.run.parent / "tokenizer" / "tokenizer.model"
    words = ["plan", "--config-name", "danube_rehearsal", *SHAPE, f"model.tokenizer.model={model}", "--suite"]
    assert main([*words, str(evaluated.suite), "--data", str(evaluated.data), "--limit", "5"]) == 0
    said = capsys.readouterr().out
    found = re.match(r"small: ([\d,]+) tokens scored, ([\d,]+) read before texts, at most 1,280 generated", said)
    assert found is not None, said
    assert main([*words, str(evaluated.suite)]) == 2
    assert "its tokens are counted on the data; give --data" in capsys.readouterr().err


def test_refusals(capsys: Say) -> None:
    for words, said in (
        (["--suite", "danube"], "no such suite"),
        (["--suite", "danube-table1", "--gpu", "TPU"], "--gpu TPU: not known"),
    ):
        assert main(["plan", *words]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line
