"""Columns of the logits that pad the vocabulary, kept out of every softmax: their number depends on the layout."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor

from custom_modules.model.language_model import LanguageModel


def hide_padding(model: LanguageModel, vocab_size: int) -> None:
    """Give this rank's columns from ``vocab_size`` on the probability 0, and so their weights a gradient of 0.

    It fills them in place, with no copy of the logits, wherever the head is called: for the loss, for one of its
    chunks, for an objective of logits. Nothing is done where this rank has no such column.

    Args:
        model: with a head whose output is divided over the tensor-parallel ranks.
    """
    columns = model.output_layer.output_size_per_partition
    real = min(max(vocab_size - columns * parallel_state.get_tensor_model_parallel_rank(), 0), columns)
    if real == columns:
        return

    def fill(head: torch.nn.Module, arguments: Any, output: tuple[Tensor, Tensor | None]) -> tuple[Any, Tensor | None]:
        logits, bias = output
        return _Hidden.apply(logits, real), bias

    model.output_layer.register_forward_hook(fill)


class _Hidden(torch.autograd.Function):
    """``[..., columns]`` logits, of which those from ``real`` on become the lowest number of their dtype.

    Not -inf: a rank may have no other column, and ``0 * -inf`` is no number where an objective weighs
    log-probabilities. The gradient is passed on without a copy: that of a hidden column is 0 already, as its softmax
    is.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, real: int) -> Tensor:
        ctx.mark_dirty(logits)
        logits[..., real:] = torch.finfo(logits.dtype).min
        return logits

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
