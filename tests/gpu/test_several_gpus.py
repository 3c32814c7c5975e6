"""Every way to share a model out over two GPUs learns what one GPU does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.support.gpu import BF16, Machine
from tests.support.runs import read_metrics
from tests.support.tiny import TINY, prepare

Run = subprocess.CompletedProcess[str]
SHAPE = ["model.hidden_size=128", "model.ffn_hidden_size=256", "model.num_layers=4", *BF16]
LAYOUTS = {
    "data": ["model.optim.name=distributed_fused_adam"],
    "tensor": ["model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": ["model.pipeline_model_parallel_size=2", "model.virtual_pipeline_model_parallel_size=2"],
    "context": ["model.context_parallel_size=2"],
    "fsdp": ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"],
}


@pytest.fixture(scope="module")
def pretrain(
    machine: Machine, danube: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[float]]:
    """Trains a run by name and gives its losses."""
    folder = tmp_path_factory.mktemp("several")
    data = prepare(folder, 400, TINY)

    def run(name: str, *overrides: str) -> list[float]:
        folders = [f"data.dir={data}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
        danube("pretrain", "--config-name", "danube_rehearsal", *TINY, *SHAPE, machine.here, *folders, *overrides)
        return [line["loss"] for line in read_metrics(folder / name)]

    return run


@pytest.mark.needs_gpu
@pytest.mark.parametrize("layout", LAYOUTS)
def test_learns_what_one_does(
    machine: Machine, pretrain: Callable[..., list[float]], layout: str, print_figure: Callable[[str], None]
) -> None:
    if machine.gpus < 2:
        pytest.skip(f"{machine.gpus} GPU here, two are needed")
    alone = pretrain(f"{layout}_alone", "trainer.devices=1")
    shared = pretrain(layout, "trainer.devices=2", *LAYOUTS[layout])
    apart = max(abs(one - other) for one, other in zip(alone, shared, strict=True))
    print_figure(f"{layout} over two GPUs: losses {apart:.2e} apart at most, from {alone[0]:.3f} to {alone[-1]:.3f}")
    assert apart <= 0.02
