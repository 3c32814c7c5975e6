"""Importing megatron-core: without its advice, and on a CPU without what only a GPU can run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

GPU_PACKAGES = ("transformer_engine", "apex.optimizers", "amp_C", "fused_weight_gradient_mlp_cuda")
"""megatron-core takes kernels from them wherever they can be imported."""


def quiet_megatron() -> None:
    """Silence what users can do nothing about: megatron-core's advice on every import, torch's notes to its callers."""
    warnings.filterwarnings("ignore", module=r"megatron\..*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"torch\.distributed is disabled")


def import_megatron(accelerator: str = "auto") -> None:
    """Import megatron-core for the first time in this process.

    megatron-core decorates its fused functions with ``torch.compile`` where they are defined, which loads torch's
    compiler: more than a second in every process. On a CPU every fusion is off, and the decorator leaves them as they
    are. Its optimizers take Transformer Engine's or Apex's kernels where those are installed, whatever the tensors are
    on: on a CPU it does not find them.

    Args:
        accelerator: ``trainer.accelerator``.
    """
    import torch

    quiet_megatron()
    compiler = torch.compile
    if accelerator == "cpu" or not torch.cuda.is_available():
        torch.compile = _left_alone  # type: ignore[assignment]
        for name in GPU_PACKAGES:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    try:
        import megatron.core  # noqa: F401
    finally:
        torch.compile = compiler


def _left_alone(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """``torch.compile`` as a decorator, with options or without, that compiles nothing."""
    return (lambda decorated: decorated) if function is None else function
