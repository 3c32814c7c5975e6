"""Every parallel layout trains the same model: the losses of a single process at each of 20 steps, and its weights."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.runs import checkpoints, read_metrics, tensors
from tests.support.tiny import TINY

LAYOUTS = {
    "dp2": ["trainer.devices=2"],
    "dp2_distributed": ["trainer.devices=2", "model.optim.name=distributed_fused_adam"],
    "tp2": ["trainer.devices=2", "model.tensor_model_parallel_size=2"],
    "tp2_sequence": ["trainer.devices=2", "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "fsdp2": ["trainer.devices=2", "model.fsdp=true"],
    "cp2": ["trainer.devices=2", "model.context_parallel_size=2"],
    "pp2": ["trainer.devices=2", "model.pipeline_model_parallel_size=2"],
    "vp2": [
        "trainer.devices=2",
        "model.pipeline_model_parallel_size=2",
        "model.virtual_pipeline_model_parallel_size=2",
    ],
}
QUICK = ["dp2", "pp2"]


@pytest.fixture(scope="module")
def train(
    danube: Callable[..., subprocess.CompletedProcess[str]], prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("layouts")

    def run(name: str, *overrides: str) -> Path:
        done = danube(
            *["pretrain", "--config-name", "danube_rehearsal", *TINY, "model.num_layers=4", f"data.dir={prepared}"],
            *[f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}", *overrides],
        )
        assert done.returncode == 0, done.stderr
        return folder / name

    return run


@pytest.fixture(scope="module")
def reference(train: Callable[..., Path]) -> Path:
    return train("single", "trainer.devices=1")


@pytest.mark.parametrize(
    "layout", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS]
)
def test_losses_gradient_norms_and_weights_of_a_single_process(
    layout: str, train: Callable[..., Path], reference: Path
) -> None:
    """They agree at length 32, below the window, and at 64, beyond it."""
    run_dir = train(layout, *LAYOUTS[layout])
    for kind, keys in (("train", ("loss", "grad_norm")), ("validation", ("loss",))):
        expected, found = read_metrics(reference, kind), read_metrics(run_dir, kind)
        assert len(expected) == len(found) == (20 if kind == "train" else 4)
        for one, other in zip(expected, found, strict=True):
            for key in keys:
                assert other[key] == pytest.approx(one[key], rel=1e-4), (one["step"], key)
    assert_close(checkpoints(reference)[-1], checkpoints(run_dir)[-1])


def assert_close(one: Path, other: Path) -> None:
    """Every weight and moment, within 0.2% of the largest of its tensor; a norm's gradient that lacks a part is not."""
    expected, found = tensors(one), tensors(other)
    assert len(expected) > 20
    for name, tensor in expected.items():
        assert (tensor - found[name]).abs().max() <= 2e-3 * tensor.abs().max(), name


@pytest.mark.slow
def test_a_checkpoint_has_the_weights_of_its_last_step(train: Callable[..., Path]) -> None:
    """The distributed optimizer saves them too, each from the rank that updates it; its model gathers them later."""
    run_dir = train(
        "gathered", *LAYOUTS["dp2_distributed"], "curriculum.stage=stage1", "trainer.log_every_n_tokens=7168"
    )
    [early, *_] = checkpoints(run_dir)
    assert early.name.endswith("6144"), "saved without a validation before it, which would gather them"
    found, prefix = tensors(early), "optimizer.state.param."
    updated = [name for name in found if name.startswith(prefix)]
    assert len(updated) == 9
    for name in updated:
        assert torch.equal(found[name], found[name.removeprefix(prefix)]), name


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "distributed_fused_adam"])
def test_without_overlap(optimizer: str, train: Callable[..., Path], reference: Path) -> None:
    off = ["model.optim.overlap_grad_sync=false", "model.optim.overlap_param_sync=false"]
    run_dir = train(f"no_overlap_{optimizer}", "trainer.devices=2", f"model.optim.name={optimizer}", *off)
    assert_close(checkpoints(reference)[-1], checkpoints(run_dir)[-1])


@pytest.mark.parametrize(
    ("optimizer", "parallel", "grad_sync_dtype"),
    [
        ("adamw", "data", "fp32"),
        ("distributed_fused_adam", "data", "fp32"),
        ("distributed_fused_adam", "data", "bf16"),
        ("adamw", "tensor", "fp32"),
        ("adamw", "pipeline", "fp32"),
    ],
)
@pytest.mark.slow
def test_bf16(optimizer: str, parallel: str, grad_sync_dtype: str, train: Callable[..., Path], reference: Path) -> None:
    layout = [] if parallel == "data" else [f"model.{parallel}_model_parallel_size=2"]
    precision = ["trainer.precision=bf16-mixed", "trainer.devices=2", f"model.optim.name={optimizer}"]
    precision.append(f"model.optim.grad_sync_dtype={grad_sync_dtype}")
    run_dir = train(f"bf16_{optimizer}_{parallel}_{grad_sync_dtype}", *precision, *layout)
    for one, other in zip(read_metrics(reference), read_metrics(run_dir), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-2)
