"""The suite of `make test-null-gpu`: it runs in the project's own environment, and its programs in the null GPU's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.null_gpu.environments import ENVIRONMENTS, Environment
from tests.null_gpu.install.record import unfinished
from tests.null_gpu.install.steps import STEPS
from tests.support.figures import print_figure as print_figure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.null_gpu)


@pytest.fixture(scope="session", params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> Environment:
    """Skips what an environment is needed for that is not whole."""
    chosen = ENVIRONMENTS[request.param]
    if missing := unfinished(chosen, STEPS):
        pytest.skip(f"{chosen}: {missing[0].name} not made; run python -m tests.null_gpu.install {chosen.name}")
    return chosen
