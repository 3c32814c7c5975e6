"""Environments, for tests: whole, or a reason to skip."""

from __future__ import annotations

import pytest

from tests.null_gpu.environments import ENVIRONMENTS, Environment
from tests.null_gpu.install.record import unfinished
from tests.null_gpu.install.steps import STEPS


def whole(name: str) -> Environment:
    """Return an environment; skips what it is needed for where it is not whole."""
    chosen = ENVIRONMENTS[name]
    if missing := unfinished(chosen, STEPS):
        pytest.skip(f"{chosen}: {missing[0].name} not made; run python -m tests.null_gpu.install {chosen.name}")
    return chosen
