"""With ALiBi a batch is the same step on every layout: ranks have the slopes and the positions that are theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import free_ports
from tests.support.ranks import run_ranks

LOKI = ["trainer.devices=2", "model.architecture=lokilm", "model.sliding_window=null"]
LAYOUTS = {
    "data": [],
    "tensor": ["model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "context": ["model.context_parallel_size=2"],
    "fsdp": ["model.fsdp=true"],
    "pipeline": ["model.pipeline_model_parallel_size=2"],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[float]]]:
    """Loss, gradient norm and learning rate of each step, by layout."""
    from tests.support.splits import train_in_turn

    folder = tmp_path_factory.mktemp("layouts")
    work = [(folder / name, [*LOKI, *layout]) for name, layout in LAYOUTS.items()]
    run_ranks(train_in_turn, (2, free_ports(len(work)), work), 2)
    return {name: steps(folder / name) for name in LAYOUTS}


def steps(run: Path) -> list[list[float]]:
    found: list[list[float]] = json.loads((run / "found.json").read_text())["steps"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "data"])
def test_every_layout_makes_the_same_steps(found: dict[str, list[list[float]]], layout: str) -> None:
    for one, other in zip(found["data"], found[layout], strict=True):
        assert other == pytest.approx(one, rel=1e-6)
