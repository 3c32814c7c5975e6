"""Random states and checkpointing, which nothing here uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class CudaRNGStatesTracker:
    """Named by megatron-core."""


def checkpoint(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Recompute ``function`` in the backward pass: not part of the fake."""
    raise NotImplementedError


@contextmanager
def activation_recompute_forward(activation_recompute: bool = False, recompute_phase: bool = False) -> Iterator[None]:
    """For recomputation: not part of the fake."""
    raise NotImplementedError
    yield
