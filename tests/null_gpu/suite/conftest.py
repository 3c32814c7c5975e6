"""The suite of `make test-null-gpu`: it runs in the project's own environment, and its programs in the null GPU's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.null_gpu.environments import ENVIRONMENTS, Environment
from tests.null_gpu.suite.training import CURRICULUM
from tests.null_gpu.suite.whole import whole
from tests.support.figures import print_figure as print_figure
from tests.support.tiny import prepare


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.null_gpu)


@pytest.fixture(scope="session", params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> Environment:
    return whole(request.param)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"), 600, CURRICULUM)
