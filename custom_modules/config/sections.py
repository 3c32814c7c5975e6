"""What the groups of keys are made of: a closed, frozen section, and the types of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _no_blank(given: str | list[str]) -> str | list[str]:
    if not all(text.strip() for text in ([given] if isinstance(given, str) else given)):
        raise ValueError("a path or name is needed, not nothing: is a variable unset? (. is the working directory)")
    return given


def _without_null(items: object) -> object:
    return {name: item for name, item in items.items() if item is not None} if isinstance(items, dict) else items


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
PositiveInt = Annotated[Int, Field(gt=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]

PathText = Annotated[str, AfterValidator(_no_blank)]
"""A path or a part of one: where nothing is given the working directory must not be meant."""
PathTexts = Annotated[str | list[str], AfterValidator(_no_blank)]
"""One or several."""

WithoutNull = BeforeValidator(_without_null)
"""Null takes an item out that a recipe has from the one it builds on."""


class Section(BaseModel):
    """A group of keys: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)
