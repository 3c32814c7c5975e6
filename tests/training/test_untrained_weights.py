"""Converted weights, of which nothing was trained yet: what a run on them may have otherwise, and what not."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.conversion import from_hf, to_hf
from custom_modules.data.manifest import load_manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import find_newest
from custom_modules.run_folder.compatibility import check_resumable
from tests.support.runs import assert_same_run, checkpoints
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
OTHER = [
    "model.optim.lr=2e-3",
    "model.optim.sched.warmup_tokens=512",
    "model.global_batch_tokens=256",
    "curriculum.stages.stage1={tokens: 1024, encoder_seq_length: 64}",
    "~curriculum.stages.stage2",
    "model.seed=7",
]
"""Another learning rate, batch, length, number of stages and seed."""


@pytest.fixture(scope="module")
def trained(danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first stage."""
    folder = tmp_path_factory.mktemp("trained")
    names = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run", "trainer.devices=1"]
    done = danube("pretrain", "--config-name", "danube_rehearsal", *TINY, "curriculum.stage=stage1", *names)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def imported(trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder that `convert from-hf` made of the export."""
    folder = tmp_path_factory.mktemp("imported")
    to_hf(trained, folder / "hf")
    tokenizer = f"model.tokenizer.model={prepared / 'tokenizer' / 'tokenizer.model'}"
    from_hf(folder / "hf", folder / "run", load_config("danube_rehearsal", [*TINY, tokenizer]))
    return folder / "run"


def check(run_dir: Path, data: Path, *overrides: str) -> None:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={data}", "trainer.devices=1", *overrides])
    checkpoint, _ = find_newest(run_dir)
    assert checkpoint is not None
    check_resumable(config, Curriculum.from_config(config), load_manifest(config), checkpoint)


@pytest.mark.parametrize(
    "overrides",
    [
        OTHER,
        ["++curriculum.stages.stage1.mix={text: 1}"],
        ["model.optim.name=distributed_fused_adam"],
        ["trainer.precision=bf16-mixed"],
        ["model.kv_channels=8"],  # which it is
        ["model.make_vocab_size_divisible_by=64"],
    ],
)
def test_what_training_follows_may_change(overrides: list[str], prepared: Path, imported: Path) -> None:
    check(imported, prepared, *overrides)


@pytest.mark.parametrize(
    ("override", "difference", "remedied"),
    [
        ("model.num_layers=3", "model.num_layers: 2 -> 3", False),
        ("model.ffn_hidden_size=96", "model.ffn_hidden_size: 64 -> 96", False),
        ("model.kv_channels=16", "model.kv_channels: None -> 16", False),
        ("model.sliding_window=32", "model.sliding_window: 48 -> 32", True),
        ("model.rotary_base=500", "model.rotary_base: 10000.0 -> 500.0", True),
    ],
)
def test_another_model_is_refused(
    override: str, difference: str, remedied: bool, prepared: Path, imported: Path
) -> None:
    with pytest.raises(UserError) as refused:
        check(imported, prepared, override, "model.optim.lr=1e-3")
    assert f"(checkpoint -> config): {difference}; take them back" in str(refused.value)
    way = f", with model.restore_from_path={checkpoints(imported)[0]} to begin with its weights"
    assert str(refused.value).endswith(way) == remedied


def test_where_something_was_trained_the_way_is_named(prepared: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"model.restore_from_path={checkpoints(trained)[-1]} to begin")):
        check(trained, prepared, "model.optim.lr=1e-3")
    with pytest.raises(UserError) as refused:
        check(trained, prepared, "model.hidden_size=64")
    assert "restore_from_path" not in str(refused.value)


@pytest.mark.slow
def test_it_is_the_run_that_restores_them(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], imported: Path, tmp_path: Path
) -> None:
    shutil.copytree(imported, tmp_path / "run")
    for command in (
        tiny("run", "trainer.devices=1", *OTHER),
        tiny("restored", "trainer.devices=1", *OTHER, f"model.restore_from_path={imported}"),
    ):
        done = danube(*command)
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "restored", tmp_path / "run")
    refused = danube(*tiny("run", "trainer.devices=1", *OTHER, "model.optim.lr=1e-3"))
    assert refused.returncode == 2
    assert "model.optim.lr: 0.002 -> 0.001" in refused.stderr
    assert "model.restore_from_path=" in refused.stderr
