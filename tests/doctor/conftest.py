"""A machine to examine: this one, with programs on PATH and packages on PYTHONPATH that a test puts there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
