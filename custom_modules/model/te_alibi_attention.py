"""Transformer Engine's attention with ALiBi folded into queries and keys: imported only where that package is used.

Its own ALiBi is not taken: under tensor parallelism it has the slopes of as many heads as a rank has, with context
parallelism there is none, and without an H100 it is a bias of s x s.
"""

from __future__ import annotations

from typing import Any

from megatron.core.extensions.transformer_engine import TEDotProductAttention
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from custom_modules.architecture.alibi import FEATURES
from custom_modules.model.alibi import fold
from custom_modules.model.alibi_attention import FOLDED, Folded
from custom_modules.model.packed_documents import PackedDocuments


class TEAlibiAttention(TEDotProductAttention):
    """``TEDotProductAttention`` over wider heads, with the softmax scale of the true head dim.

    Args:
        config: of a model in bf16, with no window.
        softmax_scale: None for that of the head dim.
        arguments: of ``TEDotProductAttention``.
    """

    def __init__(
        self, config: TransformerConfig, *arguments: Any, softmax_scale: float | None = None, **named: Any
    ) -> None:
        folded = Folded(config, softmax_scale)
        width = folded.head_dim + FEATURES
        super().__init__(config, *arguments, softmax_scale=folded.scale, k_channels=width, v_channels=width, **named)
        self.folded = folded

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """Attend.

        Args:
            query: ``[s, b, heads, d]``, the heads and tokens of this rank; of packed documents ``[t, heads, d]``.
            key, value: ``[s, b, groups, d]``, or ``[t, groups, d]``.

        Returns:
            ``[s, b, heads * d]``, or ``[t, heads * d]``.
        """
        assert query.dtype == FOLDED, f"folded positions are exact in {FOLDED}, not in {query.dtype}"
        documents: PackedDocuments | None = named.get("packed_seq_params")
        if documents is None:
            of_keys = self.folded.of_keys(key, key.shape[0])[:, None, None]
        else:
            of_keys = self.folded.of_keys(key, documents.longest)[documents.positions, None]
        wide = fold(query, self.folded.of_queries(query), key, of_keys, value)
        heads = query.shape[-2]
        attended = super().forward(*wide, *arguments, **named).unflatten(-1, (heads, -1))
        return attended[..., : self.folded.head_dim].flatten(-2)
