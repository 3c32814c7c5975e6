"""Which kernel attends, and what each would keep."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FUSED, UNFUSED = "FusedAttention", "UnfusedDotProductAttention"
BLOCK = 128


def choose_backend(dtype: torch.dtype, head_dim: int, context_parallel: bool) -> str:
    """Choose as the real one does on an H100 without flash-attn: the fused kernels know 16 bits only.

    Raises:
        ValueError: none can.
    """
    if dtype in (torch.bfloat16, torch.float16) and head_dim % 8 == 0:
        return FUSED
    if context_parallel:
        raise ValueError("No dot product attention backend is available for the provided inputs.")
    return UNFUSED


def packed_lengths(
    qkv: tuple[Tensor, ...], attn_mask_type: str, cu_seqlens_q: Tensor | None, cu_seqlens_kv: Tensor | None
) -> list[int]:
    """Return the lengths of sequences that are packed in a row, ``[t, heads, d]``, or refuse what the real one does.

    Raises:
        AssertionError: something of it is not as it has to be.
    """
    assert all(len(x.shape) == 3 for x in qkv), "Queries, keys and values must be 3D tensors when qkv_format = thd!"
    assert "padding" in attn_mask_type, "Attention mask type must be padding or padding_causal for qkv_format=thd!"
    assert cu_seqlens_q is not None and cu_seqlens_kv is not None, (
        "cu_seqlens_q and cu_seqlens_kv can not be None when qkv_format = thd!"
    )
    assert cu_seqlens_q.shape == cu_seqlens_kv.shape and cu_seqlens_q.dim() == 1, (
        "cu_seqlens_q and cu_seqlens_q must both have shape [batch_size + 1]!"
    )
    assert cu_seqlens_q.dtype == cu_seqlens_kv.dtype == torch.int32, (
        "cu_seqlens_q and cu_seqlens_q must both be in dtype torch.int32!"
    )
    assert attn_mask_type == "padding_causal" and torch.equal(cu_seqlens_q, cu_seqlens_kv), (
        "of this one's: all it knows"
    )
    lengths: list[int] = cu_seqlens_q.diff().tolist()
    assert sum(lengths) == len(qkv[0])
    return lengths


def attend(
    backend: str, query: Tensor, key: Tensor, value: Tensor, place: Tensor, window: int, scale: float | None
) -> Tensor:
    """Attend, causally.

    Args:
        query: ``[b, heads, q, d]``.
        key, value: ``[b, groups, s, d]``.
        place: of each query among the s.
        window: so many tokens before its own that a token sees; negative: all.
    """
    distance = place[:, None] - torch.arange(key.shape[2])
    visible = (distance >= 0) & ((distance <= window) if window >= 0 else True)
    if backend == UNFUSED:
        return _all_scores(query, key, value, visible, scale)
    blocks = zip(query.split(BLOCK, dim=2), visible.split(BLOCK), strict=True)
    return torch.cat([_block(part, key, value, seen, scale) for part, seen in blocks], dim=2)


def _all_scores(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float | None) -> Tensor:
    """Keep the scores of all queries and keys, ``[b, heads, q, s]``, for the backward pass."""
    repeated = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeated, dim=1) for tensor in (key, value))
    scores = (query @ key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(~visible, -torch.inf).softmax(dim=-1) @ value


def _block(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float | None) -> Tensor:
    """Attend from a block of queries to the keys that one of them sees."""
    seen = visible.any(dim=0).nonzero()
    keys = slice(int(seen[0]), int(seen[-1]) + 1)
    return F.scaled_dot_product_attention(
        query, key[:, :, keys], value[:, :, keys], attn_mask=visible[:, keys], scale=scale, enable_gqa=True
    )
