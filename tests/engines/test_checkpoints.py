"""A run begun under one version of megatron-core goes on under the other as if it had not been moved."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.runs import assert_same_run, checkpoints
from tests.support.tiny import TINY

pytestmark = pytest.mark.engines
SHORT = ["curriculum.stages.stage1.tokens=2048", "curriculum.stages.stage2.tokens=1024"]
"""Four steps below the window, two beyond it."""
TWO = "trainer.devices=2"
DISTRIBUTED = "model.optim.name=distributed_fused_adam"
BF16 = "trainer.precision=bf16-mixed"
LAYOUTS = {
    "adamw": ["trainer.devices=1"],
    "adamw_bf16": ["trainer.devices=1", BF16],
    "distributed": [TWO, DISTRIBUTED],
    "distributed_bf16": [TWO, DISTRIBUTED, BF16],
    "fsdp": [TWO, "model.fsdp=true"],
    "fsdp_bf16": [TWO, "model.fsdp=true", BF16],
    "tensor": [TWO, "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": [TWO, "model.pipeline_model_parallel_size=2", DISTRIBUTED],
}
Danube = Callable[..., subprocess.CompletedProcess[str]]
Runs = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def runs(danube: Danube, other_danube: Danube, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Gives the folder of a finished run: its layout, and which engine trained each of its stages, each once."""
    folder = tmp_path_factory.mktemp("engines")
    engines = {"this": danube, "other": other_danube}

    @cache
    def run(layout: str, trained_by: str) -> Path:
        name = f"{layout}_{trained_by}"
        folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
        arguments = ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *SHORT, *LAYOUTS[layout]]
        for stage, engine in zip(("stage1", "stage2"), trained_by.split("_"), strict=True):
            done = engines[engine](*arguments, f"curriculum.stage={stage}")
            assert done.returncode == 0, done.stderr
            assert "Warning" not in done.stderr, done.stderr
        return folder / name

    return run


def engine_of(checkpoint: Path) -> str:
    return str(json.loads((checkpoint / "metadata.json").read_text())["versions"]["megatron-core"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("first", "second"), [("this", "other"), ("other", "this")])
def test_a_run_goes_on_under_the_other_engine(runs: Runs, layout: str, first: str, second: str) -> None:
    """Bit for bit: every loss, norm of gradients and learning rate, every weight and moment."""
    undisturbed, moved = runs(layout, f"{first}_{first}"), runs(layout, f"{first}_{second}")
    before, after = map(engine_of, checkpoints(moved))
    assert before != after
    assert_same_run(undisturbed, moved)
