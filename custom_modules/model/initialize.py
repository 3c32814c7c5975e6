"""Initial weights that depend on the seed and the parameter's name alone: the same under every TP, PP and DP."""

from __future__ import annotations

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from custom_modules.config.schema import ModelConfig
from custom_modules.model.initial_distribution import draw

VOCABULARY_KEYS = ("embedding.word_embeddings.weight", "output_layer.weight")


@torch.no_grad()
def initialize(model: GPTModel, config: ModelConfig) -> None:
    """Draw every matrix from N(0, std); norms stay at 1, and padded vocabulary rows are 0.

    megatron-core's own initialisation draws parameters in the order a rank happens to build them, so a run's first
    loss would depend on the pipeline layout. Here each global matrix has a generator of its own: see `draw`.

    Args:
        model: this rank's part of the model, filled in place.
    """
    for entry in nested_values(model.sharded_state_dict()):
        if isinstance(entry, ShardedTensorFactory):
            _draw_gated(entry, config)
        elif isinstance(entry, ShardedTensor) and entry.data.dim() == 2:
            rows = config.vocab_size if entry.key in VOCABULARY_KEYS else None
            shape = entry.global_shape[entry.prepend_axis_num :]
            offset = entry.global_offset[entry.prepend_axis_num :]
            whole = draw(_global_name(entry), (rows or shape[0], shape[1]), config, config.seed)
            _fill(entry.data, whole, offset)


def _draw_gated(factory: ShardedTensorFactory, config: ModelConfig) -> None:
    """fc1 holds gate and up, each split over the tensor-parallel ranks: its factory knows both halves."""
    for half in nested_values(factory.build()):
        shape = half.global_shape[half.prepend_axis_num :]
        offset = half.global_offset[half.prepend_axis_num :]
        whole = draw(_global_name(half), (shape[0], shape[1]), config, config.seed)
        _fill(half.data, whole, offset)


def _global_name(entry: ShardedTensor) -> str:
    layer = entry.global_offset[: entry.prepend_axis_num]
    return ".".join([entry.key, *map(str, layer)])


def _fill(part: Tensor, whole: Tensor, offset: tuple[int, ...]) -> None:
    part.zero_()
    piece = whole[offset[0] : offset[0] + part.shape[0], offset[1] : offset[1] + part.shape[1]]
    part[: piece.shape[0]].copy_(piece)
