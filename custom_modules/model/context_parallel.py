"""Attention over a sequence whose tokens are dealt out to the ranks of a context-parallel group.

megatron-core cuts a sequence into ``2 x size`` chunks and gives rank r chunks r and ``2 x size - 1 - r``, so that under
a causal mask all ranks have as much to do (``megatron.core.utils.get_batch_on_this_cp_rank``). What Transformer
Engine does with ``cp_comm_type=all_gather`` is done here with torch: a rank gathers the keys and values of all tokens,
and its own queries attend to those that they may see.
"""

from __future__ import annotations

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from torch import Tensor
from torch.distributed import ProcessGroup

from custom_modules.model.attention import SlidingWindowAttention


class ContextParallelAttention(SlidingWindowAttention):
    """`SlidingWindowAttention` of a rank's two chunks to the whole sequence."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Collective, and differentiable.

        Args:
            query: ``[b, heads, s / size, d]``: the two chunks, one after the other.
            key, value: ``[b, groups, s / size, d]``, of the same tokens.

        Returns:
            ``[b, heads, s / size, d]``.
        """
        group = parallel_state.get_context_parallel_group()
        key, value = _whole_sequence(torch.stack([key, value]), group).unbind()
        length = query.shape[2] // 2
        attended = []
        for part, chunk in zip(query.split(length, dim=2), _chunks(group.rank(), group.size()), strict=True):
            start = chunk * length
            first = 0 if self.window is None else max(0, start - self.window + 1)
            keys, values = (tensor[:, :, first : start + length] for tensor in (key, value))
            attended.append(self.attend_last(part, keys, values))
        return torch.cat(attended, dim=2)


def token_positions(length: int, rank: int, size: int) -> Tensor:
    """The places in the sequence of the ``length`` tokens that a rank of a context-parallel group has, int64."""
    chunk = length // 2
    if size == 1:
        return torch.arange(length)
    return torch.cat([torch.arange(number * chunk, (number + 1) * chunk) for number in _chunks(rank, size)])


def _chunks(rank: int, size: int) -> tuple[int, int]:
    return rank, 2 * size - 1 - rank


def _whole_sequence(keys_and_values: Tensor, group: ProcessGroup) -> Tensor:
    """``[2, b, groups, s / size, d]`` of each rank -> ``[2, b, groups, s, d]``, in the order of the sequence.

    Backward, every rank's gradients of the tokens are added up where the tokens are.
    """
    length = keys_and_values.shape[3] // 2
    parts = torch.stack(keys_and_values.split(length, dim=3))
    gathered = gather_from_sequence_parallel_region(parts, group=group)
    order = [chunk for rank in range(group.size()) for chunk in _chunks(rank, group.size())]
    return torch.cat([gathered[order.index(chunk)] for chunk in range(len(order))], dim=3)
