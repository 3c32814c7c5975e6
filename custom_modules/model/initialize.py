"""Initial weights that depend on the seed and the parameter's name alone: the same under every TP, PP and DP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from torch import Tensor

from custom_modules.config.schema import AnyModelConfig
from custom_modules.model.initial_distribution import draw
from custom_modules.model.language_model import LanguageModel


@torch.no_grad()
def initialize(model: LanguageModel, config: AnyModelConfig) -> None:
    """Draw every matrix from its distribution; norms stay at 1, and rows that pad the vocabulary are 0.

    megatron-core's own initialisation draws parameters in the order a rank happens to build them, so a run's first
    loss would depend on the pipeline layout. Here each global matrix has a generator of its own: see `draw`.

    Args:
        model: this rank's part of the model, filled in place.
    """
    table = {weight.name: weight for weight in config.weights}
    for entry in _pieces(model.sharded_state_dict()):
        weight = table[entry.key]
        if weight.initial_std is not None:
            layer = entry.global_offset[: entry.prepend_axis_num]
            name = ".".join([entry.key, *map(str, layer)])
            whole = draw(name, weight.shape, weight.initial_std, config.seed)
            _fill(entry.data, whole, entry.global_offset[entry.prepend_axis_num :])


def _pieces(state: dict[str, Any]) -> Iterator[ShardedTensor]:
    """This rank's part of each weight; two of a gated MLP's input, whose factory knows where each half belongs."""
    for entry in nested_values(state):
        if isinstance(entry, ShardedTensorFactory):
            yield from nested_values(entry.build())
        elif isinstance(entry, ShardedTensor):
            yield entry


def _fill(part: Tensor, whole: Tensor, offset: tuple[int, ...]) -> None:
    part.zero_()
    piece = whole[offset[0] : offset[0] + part.shape[0], offset[1] : offset[1] + part.shape[1]]
    part[: piece.shape[0]].copy_(piece)
