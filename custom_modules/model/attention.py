"""Causal, grouped-query, sliding-window attention as megatron-core's core attention, without an s x s matrix."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

SMALLEST_BLOCK, LARGEST_BLOCK = 64, 2048


class SlidingWindowAttention(MegatronModule):
    """Core attention over ``torch.nn.functional.scaled_dot_product_attention``, on CPU and GPU.

    Takes the place of megatron-core's ``DotProductAttention``, which builds the scores of a whole sequence. Up to the
    window this is one fused causal call. Beyond it, queries go in blocks of half a window, each against the keys it
    can see, so the largest mask has ``W/2 x 3W/2`` entries at any sequence length.

    Args:
        config: ``window_size=(W - 1, 0)`` gives every token exactly W visible ones, itself included; None, all.
        layer_number, attn_mask_type, attention_type, attention_dropout, softmax_scale, cp_comm_type, pg_collection:
            megatron-core's interface; only causal self-attention without dropout is meant to be built.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection: Any = None,
    ) -> None:
        super().__init__(config=config)
        assert attn_mask_type == AttnMaskType.causal, f"causal attention only, not {attn_mask_type}"
        assert attention_type == "self", f"self-attention only, not {attention_type}"
        self.softmax_scale = softmax_scale
        self.window = config.window_size[0] + 1 if config.window_size else None

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``[s, b, heads, d]``, the heads of this tensor-parallel rank.
            key, value: ``[s, b, groups, d]``; ``heads / groups`` queries share a group.
            attention_mask: must be None; causality and the window are built in.

        Returns:
            ``[s, b, heads * d]`` in the dtype of ``query``.
        """
        assert attention_mask is None and attention_bias is None and packed_seq_params is None
        query, key, value = (tensor.permute(1, 2, 0, 3).contiguous() for tensor in (query, key, value))
        return self.attend(query, key, value).permute(2, 0, 1, 3).flatten(2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend to all tokens that this process has, ``[b, heads, s, d]``."""
        return self.attend_last(query, key, value)

    def attend_last(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend as `windowed_attention` does, with this layer's window and scale."""
        return windowed_attention(query, key, value, self.window, self.softmax_scale)


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


@functools.lru_cache(maxsize=16)
def _bias(queries: int, keys: int, offset: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[queries, keys]``: 0 where a query, ``offset`` keys into the block, may see a key, else minus infinity.

    Not of bools: of those torch makes such a tensor in every call, and keeps it for the backward pass.
    """
    distance = torch.arange(offset, offset + queries, device=device)[:, None] - torch.arange(keys, device=device)
    hidden = (distance < 0) | (distance >= window)
    return torch.zeros(queries, keys, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)
