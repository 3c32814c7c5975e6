"""Causal attention over a sliding window, block by block, in plain torch: what megatron-core's layers and transformers'
models of this project share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from custom_modules.model.segments import Segment

SMALLEST_BLOCK, LARGEST_BLOCK = 64, 2048


def windowed_attention(
    query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float | None = None
) -> Tensor:
    """Causal attention in which position i sees the positions ``max(0, i - window + 1) .. i``.

    Args:
        query: ``[b, heads, q, d]``, of the last q positions.
        key, value: ``[b, groups, s, d]``, of all s.
        window: visible tokens, at least 1; None for all.
        scale: of the scores; None for ``d ** -0.5``.

    Returns:
        ``[b, heads, q, d]``.
    """
    length = key.shape[2]
    before = length - query.shape[2]
    grouped = query.shape[1] != key.shape[1]
    window = length if window is None else window
    if before == 0 and length <= window:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
    block = min(max(SMALLEST_BLOCK, window // 2), LARGEST_BLOCK)

    def visible(start: int, end: int) -> tuple[int, Tensor]:
        first = max(0, start - window + 1)
        return first, _bias(end - start, end - first, start - first, window, query.dtype, query.device)

    return attend_in_blocks(query, key, value, block, visible, scale)


def attend_in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    block: int,
    visible: Callable[[int, int], tuple[int, Tensor]],
    scale: float | None = None,
) -> Tensor:
    """Attend with so many queries at a time, as `windowed_attention` does.

    Args:
        visible: ``start, end``, the positions of a block's queries -> ``first, mask``: they may see the positions
            ``first .. end - 1``, and what is added to the scores of these, ``[queries, keys]`` or
            ``[1, heads, queries, keys]``.
    """
    length = key.shape[2]
    before = length - query.shape[2]
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda and grouped:
        # With a mask there, torch's memory-efficient kernel takes no groups, and the one that does keeps all scores.
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
        grouped = False
    blocks = []
    for start in range(before, length, block):
        end = min(start + block, length)
        first, mask = visible(start, end)
        blocks.append(
            F.scaled_dot_product_attention(
                query[:, :, start - before : end - before],
                key[:, :, first:end],
                value[:, :, first:end],
                attn_mask=mask,
                scale=scale,
                enable_gqa=grouped,
            )
        )
    return torch.cat(blocks, dim=2)


def attend_in_segments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Sequence[Segment],
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Attend of each of a sequence's texts to itself.

    What a segment gets depends on its own length and its beginning's, not on what else stands in the sequence.

    Args:
        query: ``[1, heads, s, d]``.
        key, value: ``[1, groups, s, d]``.
        segments: in the sequence's order, without gaps; what stands behind them is of no text.
        attend: gives the attention of the last q positions to all s, as `windowed_attention` does.

    Returns:
        ``[1, heads, s, d]``; behind the segments zeros.
    """
    found = []
    for begin, end, shared_begin, shared_end in segments:
        keys, values = key[:, :, begin:end], value[:, :, begin:end]
        if shared_end > shared_begin:
            keys = torch.cat([key[:, :, shared_begin:shared_end], keys], dim=2)
            values = torch.cat([value[:, :, shared_begin:shared_end], values], dim=2)
        found.append(attend(query[:, :, begin:end], keys, values))
    rest = query.shape[2] - segments[-1].end
    return torch.cat([*found, found[0].new_zeros(()).expand(*found[0].shape[:2], rest, found[0].shape[3])], dim=2)


@functools.lru_cache(maxsize=16)
def _bias(queries: int, keys: int, offset: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[queries, keys]``: 0 where a query, ``offset`` keys into the block, may see a key, else minus infinity.

    Not of bools: of those torch makes such a tensor in every call, and keeps it for the backward pass.
    """
    distance = torch.arange(offset, offset + queries, device=device)[:, None] - torch.arange(keys, device=device)
    hidden = (distance < 0) | (distance >= window)
    return torch.zeros(queries, keys, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)
