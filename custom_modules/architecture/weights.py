"""What a model's table of weights is made of: every place that needs a list of the weights derives it from one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

LAYERS = "decoder.layers."
"""What the names of a layer's weights begin with, in megatron-core's distributed checkpoints."""


class ModelShape(Protocol):
    """The numbers of a model, under the names of the ``model`` keys of a config."""

    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def ffn_hidden_size(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def num_query_groups(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def padded_vocab_size(self) -> int: ...
    @property
    def init_method_std(self) -> float: ...


class Role(StrEnum):
    """What a weight is for."""

    EMBEDDING = "embedding"
    ATTENTION = "attention"
    MLP = "mlp"
    LAYER_NORM = "layer_norm"
    FINAL_NORM = "final_norm"
    HEAD = "head"


class Join(StrEnum):
    """How a weight is made of its Hugging Face parts; `custom_modules.conversion.layout` does it to tensors."""

    WHOLE = "whole"
    """There is one part, and it is the weight."""
    STACKED = "stacked"
    """The parts lie on one another: ``[gate; up]``."""
    QUERY_GROUPS = "query_groups"
    """Queries, keys and values: for each group its queries, then its key, then its value."""


@dataclass(frozen=True)
class Dimension:
    """One axis of a weight."""

    size: int
    """Its length, without the rows that pad the vocabulary."""
    keys: tuple[str, ...]
    """The ``model`` keys that it follows from; the last is the one to change."""
    unit: int = 1
    """How much longer the axis is for one more of that key."""
    name: str | None = None
    """What a message calls it; None: by its key."""

    @property
    def key(self) -> str:
        return self.keys[-1]

    @property
    def said(self) -> str:
        return self.name or f"model.{self.key}"


@dataclass(frozen=True)
class Weight:
    """A parameter tensor of the whole model; of a layer's, one stands for those of all layers."""

    name: str
    """megatron-core's, in a distributed checkpoint."""
    dimensions: tuple[Dimension, ...]
    role: Role
    parts: Mapping[str, tuple[int, ...]]
    """Hugging Face's names and shapes; ``{layer}`` stands for the number of a layer, from 0."""
    join: Join = Join.WHOLE
    tensor_axis: int | None = None
    """The axis that tensor-parallel ranks divide; None: each of them has the whole."""
    initial_std: float | None = None
    """The standard deviation of the normal distribution around 0 that it is drawn from; None: it is all ones."""
    may_run_in_fp8: bool = False
    """Whether its matrix multiplication may."""
    padded_rows: int | None = field(default=None)
    """Rows in training, where they are more than the vocabulary's; None: it has no such rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one layer's, without the rows that pad the vocabulary."""
        return tuple(dimension.size for dimension in self.dimensions)

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """The shape in training and in checkpoints."""
        return (self.padded_rows or self.shape[0], *self.shape[1:])

    @property
    def is_layers(self) -> bool:
        """Whether every layer has one; stored, they are stacked on a leading axis."""
        return self.name.startswith(LAYERS)

    @property
    def module(self) -> str:
        """The megatron-core module that has it; of a layer's, below the layer."""
        return self.name.removeprefix(LAYERS).rpartition(".")[0]

    def count(self, padded: bool = False) -> int:
        """Count the parameters of one layer's."""
        return math.prod(self.padded_shape if padded else self.shape)


def layer_linears(weights: Iterable[Weight]) -> tuple[str, ...]:
    """Name the modules of a layer that multiply by a matrix, below the layer, in the order they are built."""
    return tuple(weight.module for weight in weights if weight.is_layers and len(weight.dimensions) == 2)
