"""Causal, grouped-query, sliding-window attention as megatron-core's core attention, without an s x s matrix."""

from __future__ import annotations

from typing import Any

from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from custom_modules.model.branches import Branches, attend_by_branches
from custom_modules.model.packed_documents import PackedDocuments, attend_by_documents
from custom_modules.model.windowed_attention import windowed_attention


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
        packed_seq_params: PackedDocuments | Branches | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``[s, b, heads, d]``, the heads of this tensor-parallel rank; of packed documents ``[t, heads, d]``.
            key, value: ``[s, b, groups, d]``; ``heads / groups`` queries share a group. Or ``[t, groups, d]``.
            attention_mask: must be None; causality and the window are built in.
            packed_seq_params: where the sequence has several texts, each of which sees itself alone.

        Returns:
            ``[s, b, heads * d]`` in the dtype of ``query``, or ``[t, heads * d]``.
        """
        assert attention_mask is None and attention_bias is None
        if isinstance(packed_seq_params, PackedDocuments):
            return attend_by_documents(query, key, value, packed_seq_params, self.attend).flatten(1)
        query, key, value = (tensor.permute(1, 2, 0, 3).contiguous() for tensor in (query, key, value))
        if packed_seq_params is None:
            attended = self.attend(query, key, value)
        else:
            attended = attend_by_branches(query, key, value, packed_seq_params, self.attend)
        return attended.permute(2, 0, 1, 3).flatten(2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend to all tokens that this process has, ``[b, heads, s, d]``."""
        return self.attend_last(query, key, value)

    def attend_last(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend as `windowed_attention` does, with this layer's window and scale."""
        return windowed_attention(query, key, value, self.window, self.softmax_scale)
