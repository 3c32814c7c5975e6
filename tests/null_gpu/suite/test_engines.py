"""A run that goes from one engine to the other and back, each with its Transformer Engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.null_gpu.environments import ENVIRONMENTS
from tests.null_gpu.suite.training import ON_GPU, STEPS, train
from tests.null_gpu.suite.whole import whole
from tests.support.runs import checkpoints, read_metrics

DELAYED = ["model.fp8=hybrid", "model.fp8_recipe=delayed"]
"""The recipe whose checkpoints have what Transformer Engine pickles."""


@pytest.mark.parametrize("first", ENVIRONMENTS)
def test_a_run_in_fp8_goes_to_the_other_engine_and_back(first: str, data: Path, tmp_path: Path) -> None:
    here = whole(first)
    there = whole(next(name for name in ENVIRONMENTS if name != first))
    for stage, environment in zip(("stage1", "stage2", "stage3"), (here, there, here), strict=True):
        ended = train(environment, data, tmp_path, ON_GPU, *DELAYED, f"curriculum.stage={stage}")
        assert ("resuming from" in ended.stderr) == (stage != "stage1"), ended.output[-8000:]
        last = json.loads((checkpoints(tmp_path / "run")[-1] / "metadata.json").read_text())
        assert last["versions"]["megatron-core"] == environment.megatron
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(1, STEPS + 1))
