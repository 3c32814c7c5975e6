"""Attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from transformer_engine.pytorch.attention.backends import attend, choose_backend, packed_lengths
from transformer_engine.pytorch.attention.context_parallel import WholeSequence, check_communication, places
from transformer_engine.pytorch.module.base import TransformerEngineBaseModule

__all__ = ["DotProductAttention"]


class DotProductAttention(TransformerEngineBaseModule):
    """Causal attention with a window. ``backend`` is what attended last."""

    def __init__(
        self,
        num_attention_heads: int,
        kv_channels: int | tuple[int, int],
        num_gqa_groups: int | None = None,
        attention_dropout: float = 0.0,
        qkv_format: str = "sbhd",
        attn_mask_type: str = "causal",
        window_size: tuple[int, int] | None = None,
        *,
        sequence_parallel: bool = False,
        tp_size: int = 1,
        get_rng_state_tracker: Callable | None = None,
        tp_group: Any = None,
        layer_number: int | None = None,
        attention_type: str = "self",
        cp_group: Any = None,
        cp_global_ranks: list[int] | None = None,
        cp_stream: Any = None,
        cp_comm_type: str = "p2p",
        softmax_scale: float | None = None,
        softmax_type: str = "vanilla",
        return_max_logit: bool | None = False,
    ) -> None:
        super().__init__()
        assert attn_mask_type == "causal" and attention_dropout == 0.0
        self.set_tensor_parallel_group(tp_group, tp_size)
        self.attn_mask_type = attn_mask_type
        self.window_size = (-1, 0) if window_size is None else window_size
        self.softmax_scale = softmax_scale
        self.backend: str | None = None
        self.set_context_parallel_group(cp_group, cp_global_ranks, cp_stream, cp_comm_type)
        self.kv_channels = kv_channels

        def remove_extra_states_check(module: torch.nn.Module, incompatible_keys: Any) -> None:
            for key in list(incompatible_keys.missing_keys):
                if "core_attention._extra_state" in key:
                    incompatible_keys.missing_keys.remove(key)

        self.register_load_state_dict_post_hook(remove_extra_states_check)

    def set_context_parallel_group(
        self, cp_group: Any, cp_global_ranks: list[int] | None, cp_stream: Any, cp_comm_type: str = "p2p"
    ) -> None:
        """Note who the tokens of a sequence are dealt out to; the ranks and the stream are theirs in the group."""
        if cp_group is not None:
            assert cp_global_ranks == torch.distributed.get_process_group_ranks(cp_group) and cp_stream is not None
        self.cp_group, self.cp_comm_type = cp_group, cp_comm_type

    def forward(
        self,
        query_layer: Tensor,
        key_layer: Tensor,
        value_layer: Tensor,
        attention_mask: Any = None,
        qkv_format: str | None = None,
        cu_seqlens_q: Tensor | None = None,
        cu_seqlens_kv: Tensor | None = None,
        cu_seqlens_q_padded: Tensor | None = None,
        cu_seqlens_kv_padded: Tensor | None = None,
        max_seqlen_q: int | None = None,
        max_seqlen_kv: int | None = None,
        attn_mask_type: str | None = None,
        window_size: tuple[int, int] | None = None,
        *,
        checkpoint_core_attention: bool = False,
        core_attention_bias_type: str = "no_bias",
        core_attention_bias: Tensor | None = None,
        alibi_slopes: Tensor | None = None,
        fast_zero_fill: bool = True,
        inference_params: Any = None,
        pad_between_seqs: bool | None = None,
        fp8_output: bool | None = False,
    ) -> Tensor:
        assert attention_mask is None and core_attention_bias_type == "no_bias"
        qkv = (query_layer, key_layer, value_layer)
        with self.prepare_forward(query_layer, num_gemms=3):
            if qkv_format != "thd":
                assert attn_mask_type == "causal" and cu_seqlens_q is None
                return self._attend(*qkv)
            assert self.cp_group is None and cu_seqlens_q_padded is None and cu_seqlens_kv_padded is None
            lengths = packed_lengths(qkv, attn_mask_type or self.attn_mask_type, cu_seqlens_q, cu_seqlens_kv)
            assert max_seqlen_q is not None and max_seqlen_q == max_seqlen_kv >= max(lengths)
            sequences = zip(*(tensor.unsqueeze(1).split(lengths) for tensor in qkv), strict=True)
            return torch.cat([self._attend(*one) for one in sequences if len(one[0])]).squeeze(1)

    def _attend(self, query_layer: Tensor, key_layer: Tensor, value_layer: Tensor) -> Tensor:
        length, heads, groups = len(query_layer), query_layer.shape[2], key_layer.shape[2]
        size = 1 if self.cp_group is None else self.cp_group.size()
        self.backend = choose_backend(query_layer.dtype, query_layer.shape[3], size > 1)
        place = torch.arange(length)
        if size > 1:
            check_communication(self.cp_comm_type, self.window_size, heads, groups, size)
            place = places(length, self.cp_group.rank(), size)
            key_layer, value_layer = (WholeSequence.apply(part, self.cp_group) for part in (key_layer, value_layer))
        query, key, value = (tensor.permute(1, 2, 0, 3) for tensor in (query_layer, key_layer, value_layer))
        out = attend(self.backend, query, key, value, place, self.window_size[0], self.softmax_scale)
        return out.permute(2, 0, 1, 3).flatten(2)
