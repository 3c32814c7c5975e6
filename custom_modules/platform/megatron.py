"""Importing megatron-core: without its advice, and on a CPU without the compiler that its fused functions ask for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def quiet_megatron() -> None:
    """Silence what users can do nothing about: megatron-core's advice on every import, torch's notes to its callers."""
    warnings.filterwarnings("ignore", module=r"megatron\..*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"torch\.distributed is disabled")


def import_megatron() -> None:
    """Import megatron-core for the first time in this process.

    megatron-core decorates its fused functions with ``torch.compile`` where they are defined, which loads torch's
    compiler: more than a second in every process. On a CPU every fusion is off, and the decorator leaves them as they
    are.
    """
    import torch

    quiet_megatron()
    compiler = torch.compile
    if not torch.cuda.is_available():
        torch.compile = _left_alone  # type: ignore[assignment]
    try:
        import megatron.core  # noqa: F401
    finally:
        torch.compile = compiler


def _left_alone(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """``torch.compile`` as a decorator, with options or without, that compiles nothing."""
    return (lambda decorated: decorated) if function is None else function
