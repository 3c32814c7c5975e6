"""Rotary embedding."""

from __future__ import annotations

import torch
from torch import Tensor


def apply_rotary_pos_emb(
    t: Tensor,
    freqs: Tensor,
    tensor_format: str = "sbhd",
    start_positions: Tensor | None = None,
    interleaved: bool = False,
    fused: bool = False,
    cu_seqlens: Tensor | None = None,
    cp_size: int = 1,
    cp_rank: int = 0,
) -> Tensor:
    """Rotate the halves of each head.

    Args:
        t: ``[s, b, heads, d]``; in the format ``thd`` ``[t, heads, d]``, where each sequence begins anew.
        freqs: angles, ``[s, 1, 1, d]``.
    """
    assert fused and not interleaved and cp_size == 1 and freqs.shape[1:3] == (1, 1)
    if tensor_format == "thd":
        assert cu_seqlens is not None and cu_seqlens.dtype == torch.int32
        parts = t.split((cu_seqlens[1:] - cu_seqlens[:-1]).tolist())
        return torch.cat([apply_rotary_pos_emb(part[:, None], freqs, fused=True) for part in parts]).squeeze(1)
    assert tensor_format == "sbhd" and cu_seqlens is None
    freqs = freqs[: t.shape[0]]
    first, second = t.float().chunk(2, dim=-1)
    return (t.float() * freqs.cos() + torch.cat([-second, first], dim=-1) * freqs.sin()).to(t.dtype)
