"""The tensors of a checkpoint, each with the Hugging Face tensors it is made of, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from custom_modules.architecture.weights import Join, Weight
from custom_modules.config.schema import AnyModelConfig

OPTIMIZER = "optimizer.state."


@dataclass(frozen=True)
class Block:
    """A stored tensor, or one layer's part of it. This class has one Hugging Face part, and equals it.

    Attributes:
        key: megatron-core's name in a distributed checkpoint, where all layers are stacked on a leading axis.
        layer: its place on that axis; None outside the layers.
        parts: Hugging Face's names and shapes.
        shape: what the parts make together, without the leading axis.
        is_padded: stored with more rows than the vocabulary has.
        initial_std: of its distribution before training; None: ones.
    """

    key: str
    layer: int | None
    parts: Mapping[str, tuple[int, ...]]
    shape: tuple[int, ...]
    is_padded: bool = False
    initial_std: float | None = None

    def split(self, tensor: Tensor) -> list[Tensor]:
        """The parts of a tensor of ``shape``, in order."""
        return [tensor]

    def merge(self, parts: list[Tensor]) -> Tensor:
        """The inverse of `split`."""
        return parts[0]


@dataclass(frozen=True)
class Stacked(Block):
    """A tensor whose parts lie on one another, such as fc1 of a gated MLP: ``[gate; up]``."""

    def split(self, tensor: Tensor) -> list[Tensor]:
        return list(tensor.split([shape[0] for shape in self.parts.values()]))

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


def blocks(model: AnyModelConfig) -> Iterator[Block]:
    """Every tensor of the model, in the order of its layers."""
    weights = model.weights
    first = next(index for index, weight in enumerate(weights) if weight.is_layers)
    layer = [weight for weight in weights if weight.is_layers]
    for weight in weights[:first]:
        yield _block(model, weight)
    for number in range(model.num_layers):
        yield from (_block(model, weight, number) for weight in layer)
    for weight in weights[first + len(layer) :]:
        yield _block(model, weight)


def _block(model: AnyModelConfig, weight: Weight, layer: int | None = None) -> Block:
    parts = {name.format(layer=layer): shape for name, shape in weight.parts.items()}
    fields = (weight.name, layer, parts, weight.shape, weight.padded_rows is not None, weight.initial_std)
    if weight.join is Join.QUERY_GROUPS:
        return QueryGroups(*fields, num_query_groups=model.num_query_groups, head_dim=model.head_dim)
    return Stacked(*fields) if weight.join is Join.STACKED else Block(*fields)


def optimizer_blocks(model: AnyModelConfig, states: Iterable[str]) -> Iterator[Block]:
    """What the optimizer keeps of every tensor of the model, in that tensor's shape.

    Args:
        states: such as ``exp_avg``.
    """
    for state in states:
        for block in blocks(model):
            yield replace(block, key=f"{OPTIMIZER}{state}.{block.key}")
