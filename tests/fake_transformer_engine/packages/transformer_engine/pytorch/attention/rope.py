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
        t: ``[s, b, heads, d]``.
        freqs: angles, ``[s, 1, 1, d]``.
    """
    assert tensor_format == "sbhd" and not interleaved and cp_size == 1
    freqs = freqs[: t.shape[0]]
    first, second = t.float().chunk(2, dim=-1)
    return (t.float() * freqs.cos() + torch.cat([-second, first], dim=-1) * freqs.sin()).to(t.dtype)
