"""Has the trace say of each matrix product which linear it is of, and whether it is of the backward pass."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import torch

BACKWARD = " backward"


def name_products(engine: Any) -> None:
    """The linears of the layers, and the head, under their names in a model on one pipeline rank."""
    phase = ctypes.CDLL(os.environ["LD_PRELOAD"]).null_gpu_phase
    [model] = engine.chunks
    for name, module in model.named_modules():
        if isinstance(getattr(module, "weight", None), torch.Tensor) and module.weight.dim() == 2:
            _name_products_of(module, name.encode(), phase)


def _name_products_of(module: Any, name: bytes, phase: Any) -> None:
    def begin(*_: Any) -> None:
        phase(name)

    def begin_backward(_: torch.Tensor) -> None:
        phase(name + BACKWARD.encode())

    def end(_module: Any, _inputs: Any, outputs: Any) -> None:
        phase(b"")
        output = outputs[0] if isinstance(outputs, tuple) else outputs
        if isinstance(output, torch.Tensor) and output.requires_grad:
            # The gradient of what it returned is there right before its own backward pass.
            output.register_hook(begin_backward)

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)
