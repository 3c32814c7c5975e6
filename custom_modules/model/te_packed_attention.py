"""Which of Transformer Engine's attentions packed documents would have."""

from __future__ import annotations

import torch
from megatron.core.transformer.transformer_config import TransformerConfig

from custom_modules.errors import UserError


def check_packed_attention(transformer: TransformerConfig, head_dim: int, longest: int) -> None:
    """Refuse documents that no fused kernel attends to: Transformer Engine would fill each up to the longest, and have
    a matrix of that squared.

    Args:
        transformer: of the model, without context parallelism.
        head_dim: of queries, keys and values as they are given to Transformer Engine.
        longest: tokens that a document may have.

    Raises:
        UserError: one line that names the key, and what would work.
    """
    from transformer_engine.pytorch.attention.dot_product_attention.utils import AttentionParams, get_attention_backend

    ranks = transformer.tensor_model_parallel_size
    groups = transformer.num_query_groups
    assert groups is not None
    params = AttentionParams(
        qkv_dtype=transformer.params_dtype,
        qkv_layout="thd_thd_thd",
        num_heads=transformer.num_attention_heads // ranks,
        num_gqa_groups=groups // ranks,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
        head_dim_qk=head_dim,
        head_dim_v=head_dim,
        attn_mask_type="padding_causal",
        window_size=transformer.window_size or (-1, 0),
        core_attention_bias_requires_grad=False,
        deterministic=transformer.deterministic_mode,
        is_training=True,
    )
    use_flash, _, use_fused, *_ = get_attention_backend(params)
    if not use_flash and not use_fused:
        dtype = str(transformer.params_dtype).removeprefix("torch.")
        raise UserError(
            "data.reset_attention_mask=true: Transformer Engine has no fused attention to packed documents here "
            f"({dtype}, head dim {head_dim}, window {_window(transformer)}, cuDNN "
            f"{torch.backends.cudnn.version()}), and would build a matrix of {longest} x {longest} for each; set "
            "model.transformer_engine=false, or data.reset_attention_mask=false"
        )


def _window(transformer: TransformerConfig) -> int | None:
    return transformer.window_size[0] + 1 if transformer.window_size else None
