"""The product of an input and a weight, forward and back, over tensor-parallel ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from transformer_engine.pytorch.quantization import BACKWARD, FORWARD, FP8GlobalStateManager
from transformer_engine.pytorch.ranks import gathered, summed, summed_and_scattered
from transformer_engine.pytorch.recipe_state import GRAD_OUTPUT, INPUT
from transformer_engine.pytorch.recompute import Phase


class Product(torch.autograd.Function):
    """``inp @ weight.T`` of a `Linear`.

    With sequence parallelism a rank has its part of the rows before a column-parallel linear and behind a row-parallel
    one. The weight's gradient is returned, or goes into ``main_grad``, which the first micro-batch overwrites.
    """

    @staticmethod
    def forward(
        ctx: Any, inp: Tensor, weight: Parameter, linear: Any, is_first_microbatch: bool | None, is_training: bool
    ) -> Tensor:
        ctx.linear, ctx.dtype, ctx.is_first_microbatch = linear, inp.dtype, is_first_microbatch
        column, row = (linear.parallel_mode == mode and linear.tp_size > 1 for mode in ("column", "row"))
        ctx.column, ctx.row, ctx.fp8 = column, row, linear.fp8
        rows = gathered(inp, linear.tp_group) if column and linear.sequence_parallel else inp
        matrix = rows.flatten(0, -2)
        along_rows = along_columns = matrix
        seen = weight
        ctx.updates_scales = False
        if linear.fp8:
            for one in (inp, weight):
                assert one.shape[:-1].numel() % 8 == 0 and one.shape[-1] % 16 == 0, one.shape
            along_rows, along_columns = linear.fp8_meta[FORWARD].matrix(matrix, INPUT)
            seen = linear.get_weight_workspace(weight, is_first_microbatch)
            ctx.updates_scales = is_training and _updates_scales()
        ctx.save_for_backward(along_columns, seen, weight)
        out = F.linear(along_rows, seen).to(inp.dtype).view(*rows.shape[:-1], -1)
        if row:
            return (summed_and_scattered if linear.sequence_parallel else summed)(out, linear.tp_group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        linear = ctx.linear
        inp, seen, weight = ctx.saved_tensors
        rows = gathered(grad, linear.tp_group) if ctx.row and linear.sequence_parallel else grad
        along_rows = along_columns = rows.flatten(0, -2)
        if ctx.fp8:
            along_rows, along_columns = linear.fp8_meta[BACKWARD].matrix(along_rows, GRAD_OUTPUT)
        dgrad = (along_rows @ seen).to(ctx.dtype).view(*rows.shape[:-1], -1)
        if ctx.column:
            dgrad = (summed_and_scattered if linear.sequence_parallel else summed)(dgrad, linear.tp_group)
        wgrad = Product.weight_gradient(ctx, linear, weight, along_columns, inp)
        if ctx.updates_scales:
            FP8GlobalStateManager.reduce_and_update_fp8_tensors(forward=False)
        return dgrad, wgrad, None, None, None

    @staticmethod
    def weight_gradient(ctx: Any, linear: Any, weight: Any, grad: Tensor, inp: Tensor) -> Tensor | None:
        """Return it; where it went into ``main_grad``, something of its shape that is not to be looked at."""
        if not linear.fuse_wgrad_accumulation:
            return (grad.t() @ inp).to(ctx.dtype)
        if ctx.is_first_microbatch:
            weight.main_grad.zero_()
        weight.main_grad.addmm_(grad.t().to(weight.main_grad.dtype), inp.to(weight.main_grad.dtype))
        if not hasattr(weight, "grad_added_to_main_grad"):
            return None
        weight.grad_added_to_main_grad = True
        return torch.full_like(weight, torch.nan)


def _updates_scales() -> bool:
    """Whether a product's backward pass ends its `fp8_autocast`'s. While it is run again every one is taken to."""
    manager = FP8GlobalStateManager
    first = manager.is_first_fp8_module()
    if Phase.is_again:
        manager.IS_FIRST_FP8_MODULE = first
    return first
