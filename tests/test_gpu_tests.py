"""`make test-gpu`: its tests pass on a CPU beside the fake Transformer Engine, and are skipped elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from tests.fake_transformer_engine.start import packages
from tests.gpu.test_several_gpus import LAYOUTS, SHAPE
from tests.support.gpu import REHEARSE, WARM
from tests.support.tiny import TINY
from tests.support.warm_path import warm_programs_as_on_a_gpu

ROOT = Path(__file__).resolve().parents[1]


def run_gpu_tests(**variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-m", "gpu", "-rs", "tests/gpu"]
    environment = {**packages(), "CUDA_VISIBLE_DEVICES": "", **variables}
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        environment.pop(name, None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_only_several_gpus_run_is_a_config(layout: str) -> None:
    load_config("danube_rehearsal", [*TINY, *SHAPE, "trainer.devices=2", *LAYOUTS[layout]])


@pytest.mark.slow
def test_skipped_with_the_reason_without_a_gpu() -> None:
    done = run_gpu_tests()
    assert done.returncode == 0, done.stdout
    assert "sees no CUDA device" in done.stdout
    assert "passed" not in done.stdout


@pytest.mark.slow
def test_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    with warm_programs_as_on_a_gpu(tmp_path / "bin") as programs:
        done = run_gpu_tests(**{REHEARSE: "1", WARM: str(programs)})
    assert done.returncode == 0, done.stdout
    assert "window 16, 48 tokens: error of bf16 logits" in done.stdout
    assert re.search(r"8 steps: loss [\d.]+ in FP8, [\d.]+ in bf16", done.stdout)
    assert re.search(r"stage1, bf16: [\d,]+ tokens/s on CPU", done.stdout)
