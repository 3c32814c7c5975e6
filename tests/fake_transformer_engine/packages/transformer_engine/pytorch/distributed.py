"""Random states, which nothing here uses, and activation recomputation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from transformer_engine.pytorch.quantization import FP8GlobalStateManager, fp8_autocast
from transformer_engine.pytorch.recompute import activation_recompute_forward

__all__ = ["CudaRNGStatesTracker", "activation_recompute_forward", "checkpoint"]


class CudaRNGStatesTracker:
    """Named by megatron-core."""


def checkpoint(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Keep the inputs alone, and run ``function``, which must draw nothing, again in the backward pass."""
    assert not kwargs.pop("distribute_saved_activations", False), "not part of the fake"
    for key in ("tp_group", "get_rng_state_tracker"):
        kwargs.pop(key, None)
    return _Checkpoint.apply(function, kwargs, *args)


class _Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable, kwargs: dict[str, Any], *args: Any) -> Any:
        manager = FP8GlobalStateManager
        ctx.function, ctx.kwargs = function, kwargs
        ctx.fp8, ctx.recipe = manager.is_fp8_enabled(), manager.get_fp8_recipe()
        ctx.others = [None if isinstance(one, Tensor) else one for one in args]
        ctx.save_for_backward(*(one if isinstance(one, Tensor) else None for one in args))
        with torch.no_grad(), activation_recompute_forward(True, recompute_phase=False):
            return function(*args, **kwargs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        inputs = [
            other if one is None else one.detach().requires_grad_(one.requires_grad)
            for one, other in zip(ctx.saved_tensors, ctx.others, strict=True)
        ]
        # The group is not handed on, as in the real one.
        with (
            torch.enable_grad(),
            activation_recompute_forward(True, recompute_phase=True),
            fp8_autocast(ctx.fp8, fp8_recipe=ctx.recipe),
        ):
            outputs = ctx.function(*inputs, **ctx.kwargs)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        both = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if isinstance(out, Tensor)]
        differentiable = [(out, grad) for out, grad in both if out.requires_grad]
        torch.autograd.backward([out for out, _ in differentiable], [grad for _, grad in differentiable])
        return None, None, *(one.grad if isinstance(one, Tensor) else None for one in inputs)
