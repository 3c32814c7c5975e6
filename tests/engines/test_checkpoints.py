"""A run begun under one version of megatron-core goes on under the other as if it had not been moved."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.missing import describe_again, without_entry
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
    "fsdp_bf16": [TWO, "model.fsdp=true", BF16, "model.optim.grad_sync_dtype=bf16"],
    "tensor": [TWO, "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": [TWO, "model.pipeline_model_parallel_size=2", DISTRIBUTED],
}
Danube = Callable[..., subprocess.CompletedProcess[str]]
BOTH_WAYS = pytest.mark.parametrize(("first", "second"), [("this", "other"), ("other", "this")])
MOMENT = "optimizer.state.exp_avg_sq.output_layer.weight"


class Runs:
    """Runs of both engines: each layout, trained by one or by the other, each once."""

    def __init__(self, engines: dict[str, Danube], prepared: Path, folder: Path) -> None:
        self.engines = engines
        self._prepared = prepared
        self._folder = folder

    def arguments(self, layout: str, folder: Path, name: str) -> list[str]:
        folders = [f"data.dir={self._prepared}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *SHORT, *LAYOUTS[layout]]

    def run(self, layout: str, *trained_by: str) -> Path:
        """Give the folder of a run, finished.

        Args:
            trained_by: which engine trained each of its two stages.
        """
        name = "_".join([layout, *trained_by])
        if not (self._folder / name).exists():
            arguments = self.arguments(layout, self._folder, name)
            for stage, engine in zip(("stage1", "stage2"), trained_by, strict=True):
                done = self.engines[engine](*arguments, f"curriculum.stage={stage}")
                assert done.returncode == 0, done.stderr
                assert "Warning" not in done.stderr, done.stderr
        return self._folder / name


@pytest.fixture(scope="module")
def runs(danube: Danube, other_danube: Danube, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs({"this": danube, "other": other_danube}, prepared, tmp_path_factory.mktemp("engines"))


def engine_of(checkpoint: Path) -> str:
    return str(json.loads((checkpoint / "metadata.json").read_text())["versions"]["megatron-core"])


@pytest.mark.parametrize("layout", LAYOUTS)
@BOTH_WAYS
def test_a_run_goes_on_under_the_other_engine(runs: Runs, layout: str, first: str, second: str) -> None:
    """Bit for bit: every loss, norm of gradients and learning rate, every weight and moment."""
    undisturbed, moved = runs.run(layout, first, first), runs.run(layout, first, second)
    before, after = map(engine_of, checkpoints(moved))
    assert before != after
    assert_same_run(undisturbed, moved)


@BOTH_WAYS
def test_a_part_of_the_other_engines_checkpoint_that_is_missing(
    runs: Runs, tmp_path: Path, first: str, second: str
) -> None:
    """It is named with the engine that wrote it, and nothing is lost."""
    written, _ = checkpoints(runs.run("adamw", first, second))
    left = tmp_path / "run" / "checkpoints" / written.name
    shutil.copytree(written, left)
    without_entry(MOMENT)(left / "dist")
    describe_again(left, engine_of(written))
    kept = {path: path.read_bytes() for path in left.rglob("*") if path.is_file()}
    refused = runs.engines[second](*runs.arguments("adamw", tmp_path, "run"))
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.count("\n") == 1
    assert f"{left / 'dist'}: {MOMENT} is missing, of what megatron-core {engine_of(left)} has" in refused.stderr
    assert {path: path.read_bytes() for path in kept} == kept
