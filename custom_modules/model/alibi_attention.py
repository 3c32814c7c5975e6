"""megatron-core's core attention with ALiBi, in the place of the local ones without it."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from custom_modules.model.alibi import biased_attention, fold, key_features, query_features, rank_slopes
from custom_modules.model.attention import SlidingWindowAttention
from custom_modules.model.context_parallel import ContextParallelAttention

FOLDED = torch.bfloat16
"""What the bias is folded in. In fp32 it is a mask: a score of thousands would lose 1e-4 of what it is summed from."""


class Folded:
    """The features of a layer's queries and keys, on this rank.

    Args:
        config: of the model.
        softmax_scale: of the scores; None for that of the head dim.
    """

    def __init__(self, config: TransformerConfig, softmax_scale: float | None = None) -> None:
        assert config.window_size is None, "ALiBi has no window"
        assert config.kv_channels is not None
        self.head_dim = config.kv_channels
        self.scale = self.head_dim**-0.5 if softmax_scale is None else softmax_scale
        self.slopes = rank_slopes(config.num_attention_heads)

    def of_queries(self, query: Tensor) -> Tensor:
        """``[heads, FEATURES]``."""
        return query_features(self.slopes, self.scale, query.dtype, query.device)

    def of_keys(self, key: Tensor, length: int) -> Tensor:
        """``[length, FEATURES]``, of the tokens that this rank of a context-parallel group has."""
        rank, size = parallel_state.get_context_parallel_rank(), parallel_state.get_context_parallel_world_size()
        if size == 1:
            # The same for many lengths, such as documents have.
            return key_features(1 << (length - 1).bit_length(), 0, 1, key.dtype, key.device)[:length]
        return key_features(length, rank, size, key.dtype, key.device)


class AlibiAttention(SlidingWindowAttention):
    """Core attention with ALiBi, over torch's.

    In bf16 the bias is folded into queries and keys, and one fused causal call does it; in fp32 queries go in blocks.

    Args:
        config: with no window.
        arguments: of `SlidingWindowAttention`.
    """

    def __init__(self, config: TransformerConfig, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self.folded = Folded(config, self.softmax_scale)
        self.softmax_scale = self.folded.scale

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend as the class without ALiBi does, to the whole sequence where ranks share it."""
        if query.dtype != FOLDED:
            return super().attend(query, key, value)
        features = self.folded.of_queries(query)[:, None], self.folded.of_keys(key, key.shape[2])
        query, key, value = fold(query, features[0], key, features[1], value)
        return super().attend(query, key, value)[..., : self.folded.head_dim]

    def attend_last(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend of the last queries; of folded ones as to any other keys."""
        if query.dtype == FOLDED:
            repeats = query.shape[1] // key.shape[1]
            if repeats > 1 and not query.is_cuda:
                # torch's kernel there adds up the gradients of a group's heads in bf16.
                key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
            return super().attend_last(query, key, value)
        return biased_attention(query, key, value, self.folded.slopes, self.softmax_scale)


class ContextParallelAlibiAttention(AlibiAttention, ContextParallelAttention):
    """The same of a rank's two chunks to the whole sequence: keys have their positions in it before they are sent."""
