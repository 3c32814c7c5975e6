"""The lengths that samples of a step are padded to."""

from __future__ import annotations

import math

from custom_modules.config.precision import fp8_multiple
from custom_modules.config.schema import AnyModelConfig

ROUNDED = 64
"""A GPU's attention is compiled for each length that it meets: among multiples of this there are few."""


def length_multiple(model: AnyModelConfig) -> int:
    """Return what a sequence's length must be a multiple of, for all devices to have equal parts of it."""
    context, tensor = model.context_parallel_size, model.tensor_model_parallel_size
    multiple = 2 * context if context > 1 else 1
    if model.sequence_parallel:
        multiple = math.lcm(multiple, context * tensor)
    return math.lcm(multiple, context * fp8_multiple(model)) if model.fp8 else multiple


def padded_length(model: AnyModelConfig, longest: int, limit: int) -> int:
    """Return the length that the samples of a step are padded to.

    Args:
        longest: tokens of the longest of them.
        limit: ``model.encoder_seq_length``, a multiple of `length_multiple` and not below ``longest``.
    """
    multiple = math.lcm(ROUNDED, length_multiple(model))
    return min(-(-longest // multiple) * multiple, limit)
