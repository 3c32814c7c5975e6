"""Importing megatron-core: without its advice, and on a CPU without what only a GPU can run."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from custom_modules.platform.kernels import find_software
from custom_modules.platform.requirements import check_megatron_version

TRANSFORMER_ENGINE = ("transformer_engine", "transformer_engine_torch")
"""The second is its extension, which cannot be loaded but by the first: megatron-core imports it by itself."""
GPU_PACKAGES: tuple[str, ...] = (*TRANSFORMER_ENGINE, "apex.optimizers", "amp_C", "fused_weight_gradient_mlp_cuda")
"""megatron-core takes kernels from them wherever they can be imported."""


def quiet_megatron() -> None:
    """Silence what users can do nothing about: megatron-core's advice on every import, torch's notes to its callers."""
    for name in ("megatron.core", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"megatron\..*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r"torch\.distributed is disabled|The argument order of load")


def import_megatron(accelerator: str = "auto") -> None:
    """Import megatron-core for the first time in this process.

    megatron-core decorates its fused functions with ``torch.compile`` where they are defined, which loads torch's
    compiler: more than a second in every process. On a CPU every fusion is off, and the decorator leaves them as they
    are. Its optimizers take Transformer Engine's or Apex's kernels where those are installed, whatever the tensors are
    on: on a CPU it does not find them. On a GPU it does not find a Transformer Engine that cannot be used, one that
    breaks on import among them.

    Args:
        accelerator: ``trainer.accelerator``.

    Raises:
        UserError: it is not the version that the program runs on.
    """
    import torch

    check_megatron_version()
    quiet_megatron()
    compiler = torch.compile
    if accelerator == "cpu" or not torch.cuda.is_available():
        torch.compile = _left_alone  # type: ignore[assignment]
        _hide(GPU_PACKAGES)
    elif find_software("gpu").transformer_engine is None:
        _hide(TRANSFORMER_ENGINE)
    try:
        import megatron.core  # noqa: F401
    finally:
        torch.compile = compiler


def _hide(packages: Iterable[str]) -> None:
    """Have every later import of them fail as if they were not installed."""
    for package in packages:
        parts = [name for name in sys.modules if name.startswith(f"{package}.")]
        for name in (package, *parts):
            sys.modules[name] = None  # type: ignore[assignment]


def _left_alone(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """``torch.compile`` as a decorator, with options or without, that compiles nothing."""
    return (lambda decorated: decorated) if function is None else function
