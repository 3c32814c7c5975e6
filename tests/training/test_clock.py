"""The token clock as a run keeps it: the learning rate is the one formula, at every step and across stages."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import read_metrics


def formula(tokens: int, total: int, warmup: int, peak: float, least: float) -> float:
    if tokens <= warmup:
        return peak * tokens / warmup
    return least + (peak - least) * (1 + math.cos(math.pi * (tokens - warmup) / (total - warmup))) / 2


@pytest.mark.slow
def test_learning_rate_at_every_step(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    done = danube(*tiny("run", "trainer.devices=1", "exp_manager.create_tensorboard_logger=true"))
    assert done.returncode == 0, done.stderr
    lines = read_metrics(tmp_path / "run")
    assert [line["tokens"] for line in lines] == [512 * step for step in range(1, 21)]
    assert [line["stage"] for line in lines] == ["stage1"] * 14 + ["stage2"] * 6
    for line in lines:
        assert abs(line["learning_rate"] - formula(line["tokens"], 10240, 1024, 4e-3, 2e-4)) <= 1e-12
    assert lines[-1]["learning_rate"] == 2e-4
    assert lines[0]["loss"] - lines[-1]["loss"] > 0.3
    validation = read_metrics(tmp_path / "run", "validation")
    assert [line["tokens"] for line in validation] == [4096, 7168, 8192, 10240]
    assert_tensorboard_has(tmp_path / "run" / "tensorboard", [line["loss"] for line in lines])


def assert_tensorboard_has(folder: Path, losses: list[float]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    scalars = events.Scalars("train/loss")
    assert [scalar.step for scalar in scalars] == [512 * step for step in range(1, 21)]
    for scalar, loss in zip(scalars, losses, strict=True):
        assert math.isclose(scalar.value, loss, rel_tol=1e-6)
