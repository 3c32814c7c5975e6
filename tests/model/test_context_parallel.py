"""Processes that share a sequence compute the attention of one that has it whole."""

from __future__ import annotations

import pytest

from custom_modules.platform.launch import free_port
from tests.support.context_parallel import attend
from tests.support.ranks import run_ranks


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_outputs_and_gradients(size: int) -> None:
    """Below, at and beyond the window, with and without a part of it on another rank, and without a window."""
    port = free_port()
    run_ranks(attend, (size, port), size)
