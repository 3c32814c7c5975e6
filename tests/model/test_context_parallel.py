"""Processes that share a sequence compute the attention of one that has it whole."""

from __future__ import annotations

import pytest
import torch.multiprocessing

from custom_modules.platform.launch import free_port
from tests.support.context_parallel import attend


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_outputs_and_gradients(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below, at and beyond the window, with and without a part of it on another rank, and without a window."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    port = free_port()
    torch.multiprocessing.spawn(attend, (size, port), nprocs=size)
