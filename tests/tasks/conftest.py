"""Data in all sets' columns, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.evaluation import write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets, small; not to be changed."""
    folder = tmp_path_factory.mktemp("evaluation") / "data"
    write_data(folder)
    return folder
