"""A checkpoint without a part that its own list of files does not name: one line says it, and nothing is lost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.missing import describe_again, without_common, without_entry, without_file
from tests.support.runs import checkpoints
from tests.support.tiny import TINY

Danube = Callable[..., subprocess.CompletedProcess[str]]
OTHER = "0.18.0"
"""The version that wrote it, as it says."""
PIPELINE = ["trainer.devices=2", "model.pipeline_model_parallel_size=2"]


@pytest.fixture(scope="module")
def stopped(danube: Danube, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Gives the arguments of a run in a folder, which is a copy of one that has two checkpoints and is not finished."""
    original = tmp_path_factory.mktemp("original")

    def arguments(folder: Path, *overrides: str) -> list[str]:
        folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *overrides]

    done = danube(*arguments(original, "trainer.devices=1", "curriculum.stage=stage1"))
    assert done.returncode == 0, done.stderr

    def copied(folder: Path, *overrides: str) -> list[str]:
        shutil.copytree(original / "run", folder / "run")
        return arguments(folder, *overrides)

    return copied


HEAD = "output_layer.weight"
CHANGES = {
    "common.pt": (without_file("common.pt"), []),
    "metadata.json": (without_file("metadata.json"), []),
    ".metadata": (without_file(".metadata"), []),
    "__0_0.distcp": (without_file("__0_0.distcp"), []),
    HEAD: (without_entry(HEAD), []),
    f"optimizer.state.exp_avg.{HEAD}": (without_entry(f"optimizer.state.exp_avg.{HEAD}"), PIPELINE),
    "rng/shard_0.0.0_1.1.1": (without_entry("rng/shard_0.0.0_1.1.1"), []),
    "optimizer.param_groups": (without_common("optimizer", "param_groups"), []),
    "optimizer.step": (without_common("optimizer", "state", "common_step"), []),
}


@pytest.mark.parametrize("name", [HEAD, *(pytest.param(n, marks=pytest.mark.slow) for n in CHANGES if n != HEAD)])
def test_a_part_that_is_missing(name: str, stopped: Callable[..., list[str]], danube: Danube, tmp_path: Path) -> None:
    change, layout = CHANGES[name]
    arguments = stopped(tmp_path, *(layout or ["trainer.devices=1"]))
    *older, newest = checkpoints(tmp_path / "run")
    change(newest / "dist")
    describe_again(newest, OTHER)
    before = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").rglob("*") if path.is_file()}
    refused = danube(*arguments)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr == (
        f"danube: {newest / 'dist'}: {name} is missing, of what megatron-core {OTHER} has written; nothing was "
        f"changed: put {newest.name} back from a copy, or move it away to go on from the one before it\n"
    )
    assert {path: path.read_bytes() for path in before} == before
    newest.rename(tmp_path / newest.name)
    resumed = danube(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resuming from {older[-1]}" in resumed.stderr
