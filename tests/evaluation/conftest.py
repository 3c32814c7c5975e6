"""A model to evaluate, made once."""

from __future__ import annotations

import pytest

from tests.support.evaluated import Evaluated, make_evaluated


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """A run, its export, data and suites; not to be changed."""
    return make_evaluated(tmp_path_factory.mktemp("evaluated"))
