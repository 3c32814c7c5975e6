"""The choice of a backend, as others may ask for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from transformer_engine.pytorch.attention.backends import FUSED, UNFUSED, choose_backend


@dataclass
class AttentionParams:
    """What the real one's choice follows from, as far as this project gives it."""

    qkv_dtype: torch.dtype = torch.bfloat16
    qkv_layout: str = "sbh3d"
    num_heads: int = 16
    num_gqa_groups: int = 16
    max_seqlen_q: int = 128
    max_seqlen_kv: int = 128
    head_dim_qk: int = 64
    head_dim_v: int = 64
    attn_mask_type: str = "no_mask"
    window_size: tuple[int, int] | None = None
    core_attention_bias_requires_grad: bool = True
    deterministic: bool = False
    is_training: bool = True


def get_attention_backend(attention_params: AttentionParams) -> tuple[bool, None, bool, str | None, bool, list[bool]]:
    """Return whether FlashAttention attends, and which; whether fused kernels do, and which; whether the unfused one
    does; and which of the three could."""
    assert attention_params.qkv_layout == "thd_thd_thd" and "padding" in attention_params.attn_mask_type
    chosen = choose_backend(attention_params.qkv_dtype, attention_params.head_dim_qk, context_parallel=False)
    is_fused = chosen == FUSED
    return False, None, is_fused, chosen if is_fused else None, chosen == UNFUSED, [False, is_fused, True]
