"""Which tensor of a checkpoint is which of `MistralForCausalLM`, and how one is made of the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from custom_modules.config.schema import ModelConfig

LAYER = "decoder.layers."
EMBEDDING = "embedding.word_embeddings.weight"
OPTIMIZER = "optimizer.state."
COMMON = "common.pt"
"""The file of what is the same on every rank, such as the optimizer's step count."""


@dataclass(frozen=True)
class Block:
    """A tensor that one Hugging Face tensor equals.

    Attributes:
        key: megatron-core's name in a distributed checkpoint, where all layers are stacked on a leading axis.
        layer: its place on that axis; None outside the layers.
        parts: Hugging Face's names and shapes.
        shape: what the parts make together, without the leading axis.
        is_padded: stored with more rows than the vocabulary has.
    """

    key: str
    layer: int | None
    parts: Mapping[str, tuple[int, ...]]
    is_padded: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        first = next(iter(self.parts.values()))
        return (sum(shape[0] for shape in self.parts.values()), *first[1:])

    def split(self, tensor: Tensor) -> list[Tensor]:
        """The parts of a tensor of ``shape``, in order."""
        return [tensor]

    def merge(self, parts: list[Tensor]) -> Tensor:
        """The inverse of `split`."""
        return parts[0]


@dataclass(frozen=True)
class GateAndUp(Block):
    """fc1 of a gated MLP: ``[gate; up]``."""

    def split(self, tensor: Tensor) -> list[Tensor]:
        return list(tensor.chunk(2))

    def merge(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)


@dataclass(frozen=True)
class QueryGroups(Block):
    """The attention's input projection: for each group its queries, then its key, then its value."""

    num_query_groups: int = 0
    head_dim: int = 0

    def split(self, tensor: Tensor) -> list[Tensor]:
        hidden = tensor.shape[-1]
        groups = tensor.view(self.num_query_groups, -1, self.head_dim, hidden)
        return [part.reshape(-1, hidden) for part in (groups[:, :-2], groups[:, -2], groups[:, -1])]

    def merge(self, parts: list[Tensor]) -> Tensor:
        hidden = parts[0].shape[-1]
        groups = [part.view(self.num_query_groups, -1, self.head_dim, hidden) for part in parts]
        return torch.cat(groups, dim=1).view(-1, hidden)


def blocks(model: ModelConfig) -> Iterator[Block]:
    """Every tensor of the model, in the order of its layers."""
    hidden, ffn, vocabulary = model.hidden_size, model.ffn_hidden_size, model.vocab_size
    queries = model.num_attention_heads * model.head_dim
    keys = model.num_query_groups * model.head_dim
    yield Block(EMBEDDING, None, {"model.embed_tokens.weight": (vocabulary, hidden)}, True)
    for layer in range(model.num_layers):
        name = f"model.layers.{layer}."
        attention, mlp = f"{name}self_attn.", f"{name}mlp."
        yield Block(
            f"{LAYER}self_attention.linear_qkv.layer_norm_weight", layer, {f"{name}input_layernorm.weight": (hidden,)}
        )
        yield QueryGroups(
            f"{LAYER}self_attention.linear_qkv.weight",
            layer,
            {
                f"{attention}q_proj.weight": (queries, hidden),
                f"{attention}k_proj.weight": (keys, hidden),
                f"{attention}v_proj.weight": (keys, hidden),
            },
            num_query_groups=model.num_query_groups,
            head_dim=model.head_dim,
        )
        yield Block(
            f"{LAYER}self_attention.linear_proj.weight", layer, {f"{attention}o_proj.weight": (hidden, queries)}
        )
        yield Block(
            f"{LAYER}mlp.linear_fc1.layer_norm_weight", layer, {f"{name}post_attention_layernorm.weight": (hidden,)}
        )
        yield GateAndUp(
            f"{LAYER}mlp.linear_fc1.weight",
            layer,
            {f"{mlp}gate_proj.weight": (ffn, hidden), f"{mlp}up_proj.weight": (ffn, hidden)},
        )
        yield Block(f"{LAYER}mlp.linear_fc2.weight", layer, {f"{mlp}down_proj.weight": (hidden, ffn)})
    yield Block("decoder.final_layernorm.weight", None, {"model.norm.weight": (hidden,)})
    yield Block("output_layer.weight", None, {"lm_head.weight": (vocabulary, hidden)}, True)


def optimizer_blocks(model: ModelConfig, states: Iterable[str]) -> Iterator[Block]:
    """What the optimizer keeps of every tensor of the model, in that tensor's shape.

    Args:
        states: such as ``exp_avg``.
    """
    for state in states:
        for block in blocks(model):
            yield replace(block, key=f"{OPTIMIZER}{state}.{block.key}")
