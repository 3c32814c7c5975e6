"""A batch that grows from stage to stage, and micro-batches in tokens, in a run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.config.learning_rate import learning_rate
from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from tests.support.runs import assert_same_run, read_metrics

Run = subprocess.CompletedProcess[str]
RAMP = [
    "curriculum.stages.stage1.global_batch_tokens=192",
    "model.micro_batch_size=null",
    "model.micro_batch_tokens=128",
    "trainer.log_every_n_tokens=512",
    "trainer.devices=1",
]


@pytest.mark.slow
def test_a_ramp(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """Intervals and learning rates follow the tokens of each stage's own steps; a stop in between changes nothing."""
    whole = danube(*tiny("whole", *RAMP))
    assert whole.returncode == 0, whole.stderr
    stages = Curriculum.from_config(load_config("danube_rehearsal", tiny("whole", *RAMP)[3:])).stages
    assert "stage1: micro-batch 3: the largest up to 128 tokens / 32 that divides the 6 sequences" in whole.stderr
    assert "stage2: micro-batch 2: the largest up to 128 tokens / 64 that divides the 8 sequences" in whole.stderr

    expected: list[tuple[int, str]] = []
    clock = 0
    for stage in stages:
        for _ in range(stage.steps):
            before, clock = clock, clock + {"stage1": 192, "stage2": 512}[stage.name]
            if before // 512 < clock // 512 or clock == stage.end_tokens:
                expected.append((clock, stage.name))
    lines = read_metrics(tmp_path / "whole")
    assert [(line["tokens"], line["stage"]) for line in lines] == expected
    optim = load_config("danube_rehearsal", tiny("whole", *RAMP)[3:]).model.optim
    for line in lines:
        assert line["learning_rate"] == pytest.approx(learning_rate(optim, line["tokens"], clock), rel=1e-6)
    assert lines[-1]["step"] == sum(stage.steps for stage in stages)

    for stage in stages:
        part = danube(*tiny("parts", *RAMP, f"curriculum.stage={stage.name}"))
        assert part.returncode == 0, part.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_log_says_that_a_size_wins(danube: Callable[..., Run], tiny: Callable[..., list[str]]) -> None:
    done = danube(*tiny("run", "trainer.devices=1", "model.micro_batch_size=4", "curriculum.stage=stage1"))
    assert done.returncode == 0, done.stderr
    assert "micro-batch 4: model.micro_batch_size=4; wins over model.micro_batch_tokens=2048" in done.stderr
