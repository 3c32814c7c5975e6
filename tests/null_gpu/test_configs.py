"""What the suite of the null GPU asks for, which nothing else in CI tries, is a config."""

from __future__ import annotations

import pytest

from custom_modules.config.load import load_config
from tests.null_gpu import bench_host
from tests.null_gpu.suite import test_commands, test_layouts, test_memory, test_precision

COMMANDS = [*test_commands.KINDS.values(), *test_commands.OPTIMIZERS.values()]
ASKED_FOR = [
    *(
        ("danube_rehearsal", [*test_layouts.SMALL, f"trainer.devices={size}", *overrides])
        for size, overrides in test_layouts.LAYOUTS.values()
    ),
    *(("danube_rehearsal", [*test_commands.SHAPE, *overrides]) for overrides in COMMANDS),
    *test_memory.CASES.values(),
    *(("danube_1_8b", overrides) for overrides in (*test_precision.RECIPES.values(), *bench_host.RECIPES.values())),
]


@pytest.mark.parametrize(("name", "overrides"), ASKED_FOR)
def test_loads(name: str, overrides: list[str]) -> None:
    load_config(name, overrides)
