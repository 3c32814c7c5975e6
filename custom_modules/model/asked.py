"""Log-probabilities of a few tokens at a few positions, without the logits of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel.utils import VocabUtility
from torch import Tensor


@dataclass(frozen=True)
class Asked:
    """Given to a model in the place of its labels, it has the model return log-probabilities.

    It is no tuple, for the reason that `custom_modules.model.targets.Targets` has.
    """

    rows: Tensor
    """``[n]``, int64: the place in the micro-batch; n is a multiple of ``at_once``."""
    positions: Tensor
    """``[n]``, int64: in the whole sequence."""
    tokens: Tensor
    """``[n, k]``, int64: each may follow the position."""
    length: int
    """Of the whole sequence."""
    at_once: int
    """Positions whose logits exist at a time: the output layer always has so many."""

    def log_probabilities(self, hidden_states: Tensor, logits: Callable[[Tensor], Tensor]) -> Tensor:
        """Return fp32 ``[n, k]``, in nats, the same on every rank that shares the sequences or the vocabulary.

        Args:
            hidden_states: ``[s, b, h]``, of this context-parallel rank's positions.
            logits: gives ``[t, 1, v]`` of this tensor-parallel rank's columns for ``[t, 1, h]``.
        """
        positions, is_here = self._local()
        hidden = hidden_states[positions, self.rows].unsqueeze(1)
        found = torch.cat(
            [
                vocab_parallel_log_probabilities(logits(some).squeeze(1), tokens)
                for some, tokens in zip(hidden.split(self.at_once), self.tokens.split(self.at_once), strict=True)
            ]
        )
        if is_here is not None:
            found.masked_fill_(~is_here.unsqueeze(-1), 0)
            torch.distributed.all_reduce(found, group=parallel_state.get_context_parallel_group())
        return found

    def _local(self) -> tuple[Tensor, Tensor | None]:
        """Return where this context-parallel rank has the positions, and which of them it has; None: all."""
        size, rank = parallel_state.get_context_parallel_world_size(), parallel_state.get_context_parallel_rank()
        if size == 1:
            return self.positions, None
        # A rank has one of twice as many parts, and its counterpart from the end.
        part_length = self.length // (2 * size)
        part, within = self.positions // part_length, self.positions % part_length
        is_second = part == 2 * size - 1 - rank
        return within + part_length * is_second, is_second | (part == rank)


def vocab_parallel_log_probabilities(logits: Tensor, ids: Tensor) -> Tensor:
    """Compute the log-probabilities of some ids from an fp32 softmax over a vocabulary that is divided over ranks.

    Args:
        logits: ``[n, v]`` of this tensor-parallel rank's columns.
        ids: ``[n, k]``, int64.

    Returns:
        fp32 ``[n, k]``, the same on every tensor-parallel rank.
    """
    group = parallel_state.get_tensor_model_parallel_group()
    logits = logits.float()
    if group.size() == 1:
        return logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)
    first, end = VocabUtility.vocab_range_from_per_partition_vocab_size(logits.shape[-1], group.rank(), group.size())
    is_elsewhere = (ids < first) | (ids >= end)
    picked = logits.gather(-1, (ids - first).masked_fill(is_elsewhere, 0)).masked_fill(is_elsewhere, 0)
    mine = torch.cat([logits.logsumexp(-1, keepdim=True), picked], dim=-1)
    ranks = [torch.empty_like(mine) for _ in range(group.size())]
    torch.distributed.all_gather(ranks, mine, group=group)
    of_all = torch.stack(ranks)
    return of_all[..., 1:].sum(0) - of_all[..., :1].logsumexp(0)
