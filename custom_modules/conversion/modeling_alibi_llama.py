"""Llama's decoder with ALiBi (Press et al., 2022) in the place of rotary embeddings, for transformers.

A file of its own: exports carry it, and it needs torch and transformers alone. Tensors have Llama's names. Scores fall
with the distance of two places in the sequence, so left padding moves nothing, and ``position_ids`` have no effect.

``eager`` and ``sdpa`` get the bias as a mask. ``flash_attention_2`` and ``_3`` take none: they get it as eight further
features of queries and keys, exact in 16 bits. Any other attention function would leave it out, and is refused.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, eager_attention_forward
from transformers.utils import can_return_tuple

MASKED = ("eager", "sdpa")
FOLDED = re.compile(r"flash_attention_[23]|kernels-community/(vllm-)?flash-attn[23]")
FEATURES, PARTS, COARSE = 8, 3, 256
"""A slope is the sum of three numbers of 16 bits, a position of two, multiples of 256 and what is left."""
LONGEST_FOLDED = 65_536

CACHES = ("cache", "past_key_values")
"""What transformers calls a cache: the first from 5.24 on, the second before."""
CACHE = CACHES[0] if CACHES[0] in BaseModelOutputWithPast.__dataclass_fields__ else CACHES[1]


class AlibiLlamaConfig(PretrainedConfig):
    """Llama's fields, without those of rotary embeddings."""

    model_type = "alibi_llama"
    keys_to_ignore_at_inference: ClassVar = [*CACHES]
    attention_bias = mlp_bias = False

    def __init__(
        self,
        vocab_size: int = 32000,
        hidden_size: int = 2048,
        intermediate_size: int = 5632,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 32,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        hidden_act: str = "silu",
        max_position_embeddings: int = 2048,
        initializer_range: float = 0.02,
        rms_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        use_cache: bool = True,
        tie_word_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.attention_dropout = attention_dropout
        self.use_cache = use_cache
        super().__init__(**{**kwargs, "tie_word_embeddings": tie_word_embeddings})


def slopes(heads: int) -> Tensor:
    """``2^(-8/n), 2^(-16/n), ...`` for a power of two; else those of the one below and each second of the one above."""

    def geometric(count: int) -> Tensor:
        return 2.0 ** (-8 / count * torch.arange(1, count + 1, dtype=torch.float64))

    power = 1 << (heads.bit_length() - 1)
    return torch.cat([geometric(power), geometric(2 * power)[::2][: heads - power]])


class Alibi:
    """The bias of one forward pass, for all layers.

    Args:
        heads: of queries.
        past: tokens that are cached.
        padding: ``[b, past + q]``, 0 at padding; None: there is none.
    """

    def __init__(self, heads: int, past: Any, padding: Tensor | None) -> None:
        self.slopes, self.past, self.padding = slopes(heads), past, padding
        self._masks: dict[Any, Tensor] = {}

    def mask(self, query: Tensor, key: Tensor) -> Tensor:
        """``[1 or b, heads, q, k]``, to be added to the scores."""
        kind = key.shape[2], query.dtype, query.device
        if kind not in self._masks:
            self._masks[kind] = self._mask(query, key.shape[2])
        return self._masks[kind]

    def _mask(self, query: Tensor, keys: int) -> Tensor:
        places = torch.arange(query.shape[2], device=query.device) + self.past
        behind = torch.arange(keys, device=query.device) - places[:, None]
        bias = self.slopes.to(query.device, torch.float32)[:, None, None] * behind
        hidden = (behind > 0)[None, None]
        if self.padding is not None:
            shown = nn.functional.pad(self.padding.to(query.device, torch.int32), (0, keys - self.padding.shape[1]))
            hidden = hidden | (shown == 0)[:, None, None]
        lowest = torch.finfo(query.dtype).min
        return bias[None].to(query.dtype).masked_fill(hidden, lowest)

    def fold(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor, Tensor]:
        """``[b, heads, s, d]`` of each -> ``[b, heads, s, d + FEATURES]``, whose plain causal attention is that with
        the bias."""
        if key.shape[2] > LONGEST_FOLDED:
            raise ValueError(f"{key.shape[2]} tokens: above {LONGEST_FOLDED} use attn_implementation=sdpa")
        rest, parts = self.slopes / scaling, []
        for _ in range(PARTS):
            part = rest.to(torch.bfloat16)
            parts += [part, part]
            rest = rest - part
        place = torch.arange(key.shape[2])
        fine = place % COARSE
        return (
            _append(query, torch.stack(parts, dim=-1)[:, None]),
            _append(key, torch.stack([place - fine, fine] * PARTS, dim=-1)),
            nn.functional.pad(value, (0, FEATURES)),
        )


def _append(heads: Tensor, features: Tensor) -> Tensor:
    whole = nn.functional.pad(features.to(heads.device, heads.dtype), (0, FEATURES - features.shape[-1]))
    return torch.cat([heads, whole.expand(*heads.shape[:-1], FEATURES)], dim=-1)


class AlibiLlamaAttention(nn.Module):
    def __init__(self, config: AlibiLlamaConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor, alibi: Alibi, cache: Cache | None, **kwargs: Any) -> tuple[Tensor, Any]:
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (
            linear(hidden).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for linear in projections
        )
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        dropout = self.config.attention_dropout if self.training else 0.0
        options = {"dropout": dropout, "scaling": self.scaling, **kwargs}
        name = self.config._attn_implementation
        attend = eager_attention_forward if name == "eager" else ALL_ATTENTION_FUNCTIONS[name]
        if name in MASKED:
            output, weights = attend(self, query, key, value, alibi.mask(query, key), **options)
        elif FOLDED.fullmatch(name):
            padding = None if alibi.padding is None or alibi.padding.all() else alibi.padding
            folded = alibi.fold(query, key, value, self.scaling)
            output, weights = attend(self, *folded, padding, **options)
            output = output[..., : self.head_dim]
        else:
            raise ValueError(
                f"attn_implementation={name}: ALiBi would be left out; use sdpa, eager, flash_attention_2 or "
                "flash_attention_3"
            )
        return self.o_proj(output.flatten(2)), weights


class AlibiLlamaDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config: AlibiLlamaConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = AlibiLlamaAttention(config, layer_idx)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden: Tensor, alibi: Alibi, cache: Cache | None, **kwargs: Any) -> tuple[Tensor, Any]:
        attended, weights = self.self_attn(self.input_layernorm(hidden), alibi, cache, **kwargs)
        hidden = hidden + attended
        return hidden + self.mlp(self.post_attention_layernorm(hidden)), weights


class AlibiLlamaPreTrainedModel(PreTrainedModel):
    config_class = AlibiLlamaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["AlibiLlamaDecoderLayer"]  # noqa: RUF012
    _skip_keys_device_placement = [*CACHES]  # noqa: RUF012
    _supports_sdpa = _supports_flash_attn = _supports_flash_attn_2 = True


class AlibiLlamaModel(AlibiLlamaPreTrainedModel):
    def __init__(self, config: AlibiLlamaConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            [AlibiLlamaDecoderLayer(config, index) for index in range(config.num_hidden_layers)]
        )
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        cache: Cache | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError("attention_mask is to be [batch, tokens]: causality and ALiBi are added here")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = past_key_values if cache is None else cache
        if cache is not None and not isinstance(cache, Cache):
            raise ValueError(
                f"{type(cache).__name__}: ALiBi needs all tokens in their places; use a cache that has them so"
            )
        if cache is None and not self.training and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache()
        past = 0 if cache is None else cache.get_seq_length()
        if attention_mask is not None and attention_mask.shape[1] != past + hidden.shape[1]:
            raise ValueError(f"attention_mask has {attention_mask.shape[1]} tokens, not {past + hidden.shape[1]}")
        alibi = Alibi(self.config.num_attention_heads, past, attention_mask)
        states, attentions = [hidden], []
        for layer in self.layers:
            hidden, weights = layer(hidden, alibi, cache, **kwargs)
            states.append(hidden)
            attentions.append(weights)
        hidden = states[-1] = self.norm(hidden)
        of_config = self.config.output_hidden_states, self.config.output_attentions
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            **{CACHE: cache},
            hidden_states=tuple(states) if (output_hidden_states or of_config[0]) else None,
            attentions=tuple(attentions) if (output_attentions or of_config[1]) else None,
        )


class AlibiLlamaForCausalLM(AlibiLlamaPreTrainedModel, GenerationMixin):
    def __init__(self, config: AlibiLlamaConfig) -> None:
        super().__init__(config)
        self.model = AlibiLlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @staticmethod
    def create_masks_for_generate(*_: Any, attention_mask: Tensor | None = None, **__: Any) -> Tensor | None:
        """Leave the mask of a compiled generation as it is: see `Alibi.mask`."""
        return attention_mask

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        cache: Cache | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        outputs = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, cache, **kwargs
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            **{CACHE: outputs.get(CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
