"""Runs whose vocabulary is padded: under every layout the same, resumed under another, exported, begun before."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import checkpoints, read_metrics, tensors
from tests.support.tiny import VOCAB_SIZE

Run = subprocess.CompletedProcess[str]
PADDED = "model.make_vocab_size_divisible_by=320"
"""640 rows for 512 tokens; 1,280 with tensor parallelism of 4, whose last two ranks have no others."""
HALFWAY = "exp_manager.checkpoint_callback_params.every_n_train_tokens=1024"
FEW = "curriculum.stages.stage1.tokens=2048"


def check(done: Run) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


def forget_last(run_dir: Path) -> None:
    shutil.rmtree(checkpoints(run_dir)[-1])


@pytest.mark.slow
def test_a_run_goes_on_under_layouts_that_pad_otherwise(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """It ends with what one has that never was padded, and with rows of zeros where no token is."""
    common = [FEW, HALFWAY, "model.num_query_groups=4", "exp_manager.checkpoint_callback_params.save_last_n=10"]
    check(danube(*tiny("whole", *common, "trainer.devices=1")))
    hops = [
        (0, ["trainer.devices=1"]),
        (1024, ["trainer.devices=4", "model.tensor_model_parallel_size=4"]),
        (2048, ["trainer.devices=2", "model.fsdp=true"]),
        (3072, ["trainer.devices=2", "model.tensor_model_parallel_size=2"]),
        (4096, ["trainer.devices=1"]),
    ]
    for tokens, layout in hops:
        while (there := checkpoints(tmp_path / "run")) and int(there[-1].name.removeprefix("tokens_")) > tokens:
            forget_last(tmp_path / "run")
        log = check(danube(*tiny("run", *common, PADDED, *layout), timeout=300))
        assert f"{tokens:,} tokens" in log or not tokens
    for kind in ("train", "validation"):
        expected, found = read_metrics(tmp_path / "whole", kind), read_metrics(tmp_path / "run", kind)
        assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in expected], rel=1e-5)
    whole, run = (tensors(checkpoints(tmp_path / name)[-1]) for name in ("whole", "run"))
    assert whole.keys() == run.keys()
    for name, tensor in whole.items():
        other = run[name]
        if "word_embeddings" in name or "output_layer" in name:
            assert other.shape[0] == 640 and (other[VOCAB_SIZE:] == 0).all(), name
            other = other[:VOCAB_SIZE]
        assert (tensor - other).abs().max() <= 2e-3 * tensor.abs().max(), name


@pytest.mark.slow
def test_a_run_of_an_earlier_version_goes_on_and_says_it(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    few = [FEW, HALFWAY, "curriculum.stage=stage1", "trainer.devices=1"]
    for name, padding in (("padded", [PADDED]), ("whole", [])):
        run_dir = tmp_path / name
        check(danube(*tiny(name, *few, *padding)))
        forget_last(run_dir)
        metadata = checkpoints(run_dir)[-1] / "metadata.json"
        saved = json.loads(metadata.read_text())
        assert saved["progress"].pop("padding_has_share") is False
        assert "share of every probability" not in check(danube(*tiny(name, *few, *padding)))
        forget_last(run_dir)
        metadata.write_text(json.dumps(saved))
        lines = check(danube(*tiny(name, *few, *padding))).splitlines()
        said = [line for line in lines if "share of every probability" in line]
        assert len(said) == (1 if padding else 0)
        if padding:
            assert f"128 rows that pad the vocabulary (model.vocab_size={VOCAB_SIZE})" in said[0]
        last = json.loads((checkpoints(run_dir)[-1] / "metadata.json").read_text())
        assert last["progress"]["padding_has_share"] is False
