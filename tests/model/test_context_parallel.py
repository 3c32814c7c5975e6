"""Processes that share a sequence compute the attention of one that has it whole."""

from __future__ import annotations

import socket

import pytest
import torch.multiprocessing

from tests.support.context_parallel import attend


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_outputs_and_gradients(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below, at and beyond the window, with and without a part of it on another rank, and without a window."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(attend, (size, port), nprocs=size)
