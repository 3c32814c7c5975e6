"""Recipes: where the scales of FP8 tensors come from."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Literal, NamedTuple

from pydantic.dataclasses import dataclass


class _Largest(NamedTuple):
    max_fwd: float
    max_bwd: float


class Format(Enum):
    """FP8 formats, with their largest values."""

    E4M3 = _Largest(448, 448)
    E5M2 = _Largest(57344, 57344)
    HYBRID = _Largest(448, 57344)


class Recipe:
    """Base of all recipes."""

    def delayed(self) -> bool:
        return isinstance(self, DelayedScaling)


@dataclass()
class DelayedScaling(Recipe):
    """Scales from a history of largest values. As pydantic's dataclasses do, it ignores arguments it does not know."""

    margin: int = 0
    fp8_format: Format = Format.HYBRID
    amax_history_len: int = 1024
    amax_compute_algo: Literal["max", "most_recent"] | Callable = "max"
    scaling_factor_compute_algo: Callable | None = None
    reduce_amax: bool = True
    fp8_dpa: bool = False
    fp8_mha: bool = False


@dataclass()
class Float8CurrentScaling(Recipe):
    """A scale per tensor, from the tensor itself."""

    fp8_format: Format = Format.HYBRID
    fp8_dpa: bool = False
    fp8_mha: bool = False


@dataclass()
class Float8BlockScaling(Recipe):
    """A scale per block of a tensor."""

    fp8_format: Format = Format.E4M3
    fp8_dpa: bool = False
    fp8_mha: bool = False


@dataclass()
class MXFP8BlockScaling(Recipe):
    """Named by megatron-core, and not used here."""

    fp8_format: Format = Format.E4M3
