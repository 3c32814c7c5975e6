"""What the groups of keys are made of: a closed, frozen section, and the types of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _without_null(items: object) -> object:
    return {name: item for name, item in items.items() if item is not None} if isinstance(items, dict) else items


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
PositiveInt = Annotated[Int, Field(gt=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]

WithoutNull = BeforeValidator(_without_null)
"""Null takes an item out that a recipe has from the one it builds on."""


class Section(BaseModel):
    """A group of keys: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)
