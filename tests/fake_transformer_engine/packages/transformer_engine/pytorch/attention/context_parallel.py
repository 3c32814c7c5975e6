"""A sequence whose tokens are dealt out to the ranks of a context-parallel group.

It is cut into ``2 x size`` chunks, of which rank r has chunks r and ``2 x size - 1 - r``. The ways to communicate
differ in what goes over the wire when, and not in the numbers: here all of them gather keys and values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transformer_engine.pytorch.ranks import gathered, summed


def check_communication(kind: str, window: tuple[int, int], heads: int, groups: int, size: int) -> None:
    """Refuse what the real attention refuses.

    Args:
        heads, groups: of this rank.

    Raises:
        AssertionError: it is none of a way's.
    """
    assert kind in ("p2p", "all_gather", "a2a"), f"Unsupported communication type: {kind}!"
    if kind == "p2p":
        assert window == (-1, 0), "Context parallelism does not support sliding window attention with p2p!"
    if kind == "a2a":
        assert heads % size == 0 and groups % size == 0, "heads and groups are dealt out to the ranks"


def places(length: int, rank: int, size: int) -> Tensor:
    """Return the places in the whole sequence of the tokens of a rank that has so many."""
    chunk = length // 2
    assert length % 2 == 0, "Sequence length per GPU needs to be divisible by 2!"
    starts = (rank * chunk, (2 * size - 1 - rank) * chunk)
    return torch.cat([torch.arange(start, start + chunk) for start in starts])


class WholeSequence(torch.autograd.Function):
    """``[s / size, ...]`` of each rank -> ``[s, ...]``, in the order of the sequence."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        ctx.group = group
        order = torch.cat([places(len(part), rank, group.size()) for rank in range(group.size())])
        whole = torch.empty(len(part) * group.size(), *part.shape[1:], dtype=part.dtype)
        whole[order] = gathered(part, group)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        size = ctx.group.size()
        return summed(grad, ctx.group)[places(len(grad) // size, ctx.group.rank(), size)], None
