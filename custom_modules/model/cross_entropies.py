"""The cross-entropies of one softmax with several targets, over a vocabulary that is divided over ranks.

They are made of the pieces of megatron-core's cross-entropy. A teacher's distribution stays the k tokens that it is
given as, and all targets share one softmax, its gradient and one reduction.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel.cross_entropy import VocabParallelCrossEntropy
from megatron.core.tensor_parallel.utils import VocabUtility
from torch import Tensor


def vocab_parallel_cross_entropies(
    logits: Tensor, labels: Tensor, ids: Tensor, probabilities: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy with the labels, and with each teacher's distribution.

    Args:
        logits: ``[..., v]`` of this tensor-parallel rank's columns; fp32 ones are written over.
        labels: ``[...]``, int64.
        ids: ``[..., T, k]``, integers below the vocabulary's size.
        probabilities: ``[..., T, k]``, in proportion; all 0 where a teacher says nothing, and has no
            result that means anything.

    Returns:
        ``[...]`` and ``[..., T]``, fp32 nats, differentiable; on every tensor-parallel rank the same.
    """
    group = parallel_state.get_tensor_model_parallel_group()
    columns = VocabUtility.vocab_range_from_per_partition_vocab_size(logits.shape[-1], group.rank(), group.size())
    teachers, probabilities = ids.shape[-2], _in_proportion(probabilities)
    local, probabilities = ids.flatten(-2).to(torch.int64, copy=True), probabilities.flatten(-2)
    is_elsewhere = (local < columns[0]) | (local >= columns[1])
    local.sub_(columns[0]).masked_fill_(is_elsewhere, 0)
    probabilities.masked_fill_(is_elsewhere, 0)
    losses = _CrossEntropies.apply(logits, labels, local, probabilities, teachers, columns)
    return losses[..., 0], losses[..., 1:]


def _in_proportion(probabilities: Tensor) -> Tensor:
    """Return rows that add up to 1 in fp32; one of zeros stays."""
    mass = probabilities.sum(dim=-1, keepdim=True, dtype=torch.float32)
    return probabilities / torch.where(mass == 0, 1.0, mass)


class _CrossEntropies(torch.autograd.Function):
    """``[..., 1 + T]`` of ``[..., v]`` logits, ``[...]`` labels and teachers, ``[..., T k]``: of each token its column
    and probability, 0 of one that is another rank's."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        local: Tensor,
        probabilities: Tensor,
        teachers: int,
        columns: tuple[int, int],
    ) -> Tensor:
        pieces, group = VocabParallelCrossEntropy, parallel_state.get_tensor_model_parallel_group()
        logits, largest = pieces.calculate_logits_max(logits)
        torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX, group=group)
        # Before the exponential takes the logits' place.
        picked = logits.gather(-1, local).sub_(largest.unsqueeze(-1)).mul_(probabilities)
        expected = picked.unflatten(-1, (teachers, -1)).sum(dim=-1)
        is_elsewhere, label, predicted, total, exponential = pieces.calculate_predicted_logits(
            logits, labels, largest, *columns
        )
        reduced = torch.cat([total.unsqueeze(-1), predicted.unsqueeze(-1), expected], dim=-1)
        torch.distributed.all_reduce(reduced, group=group)
        softmax, own = pieces.calculate_cross_entropy_loss(exponential, reduced[..., 1], reduced[..., 0])
        ctx.save_for_backward(softmax, is_elsewhere, label, local, probabilities)
        ctx.teachers = teachers
        return torch.cat([own.unsqueeze(-1), reduced[..., :1].log() - reduced[..., 2:]], dim=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        softmax, is_elsewhere, label, local, probabilities = ctx.saved_tensors
        own, teachers = gradient[..., :1], gradient[..., 1:]
        softmax.mul_(gradient.sum(dim=-1, keepdim=True))
        weights = probabilities.unflatten(-1, (ctx.teachers, -1)) * -teachers.unsqueeze(-1)
        softmax.scatter_add_(-1, local, weights.flatten(-2))
        here = own.masked_fill(is_elsewhere.unsqueeze(-1), 0)
        softmax.scatter_add_(-1, label.view_as(is_elsewhere).unsqueeze(-1), here.neg())
        return softmax, None, None, None, None, None
