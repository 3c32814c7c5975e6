"""The global state of FP8: whether it is on, and by which recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from transformer_engine.common.recipe import DelayedScaling, Format, Recipe


class FP8GlobalStateManager:
    """As in the real one, class attributes are the state."""

    FP8_ENABLED = False
    FP8_RECIPE: Recipe | None = None
    FP8_DISTRIBUTED_GROUP: Any = None

    @classmethod
    def is_fp8_enabled(cls) -> bool:
        return cls.FP8_ENABLED

    @classmethod
    def get_fp8_recipe(cls) -> Recipe:
        return cls.FP8_RECIPE or DelayedScaling()

    @classmethod
    def with_fp8_parameters(cls) -> bool:
        return False

    @classmethod
    def is_fp8_available(cls) -> tuple[bool, str]:
        return True, ""

    @classmethod
    def is_fp8_block_scaling_available(cls) -> tuple[bool, str]:
        return True, ""


@contextmanager
def fp8_autocast(
    enabled: bool = True,
    calibrating: bool = False,
    fp8_recipe: Recipe | None = None,
    fp8_group: Any = None,
    _graph: bool = False,
) -> Iterator[None]:
    """Run linears in FP8 meanwhile."""
    state = FP8GlobalStateManager
    before = state.FP8_ENABLED, state.FP8_RECIPE, state.FP8_DISTRIBUTED_GROUP
    state.FP8_ENABLED, state.FP8_RECIPE, state.FP8_DISTRIBUTED_GROUP = enabled, fp8_recipe, fp8_group
    try:
        yield
    finally:
        state.FP8_ENABLED, state.FP8_RECIPE, state.FP8_DISTRIBUTED_GROUP = before


@contextmanager
def fp8_model_init(
    enabled: bool = True, recipe: Recipe | None = None, preserve_high_precision_init_val: bool = False
) -> Iterator[None]:
    """For parameters that are kept in FP8, which nothing here does."""
    raise NotImplementedError
    yield


def rounded(tensor: Tensor, recipe: Recipe, largest: Tensor | None = None, backward: bool = False) -> Tensor:
    """A tensor as its FP8 form stands for it, in its own dtype.

    Args:
        largest: absolute value that the scale maps to the format's own; None for the tensor's.
    """
    e5m2 = backward and recipe.fp8_format is Format.HYBRID
    limit = Format.E5M2.value.max_bwd if e5m2 else Format.E4M3.value.max_fwd
    amax = tensor.abs().amax().float() if largest is None else largest
    scale = torch.where(amax > 0, limit / amax, 1.0) / 2 ** getattr(recipe, "margin", 0)
    scaled = (tensor.float() * scale).clamp(-limit, limit)
    return (scaled.to(torch.float8_e5m2 if e5m2 else torch.float8_e4m3fn).float() / scale).to(tensor.dtype)
