"""What a key says of itself: marks in its type, ``Annotated[PositiveInt, MayChange()]``, and how to read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class MayChange:
    """A resumed run may have another value: it changes where and how fast a run goes, never which tokens it trains or
    with what rule. On a section it holds for all keys in it."""


@dataclass(frozen=True)
class MustKeep:
    """A resumed run may not have another value, though the section that it is in is marked `MayChange`."""


@dataclass(frozen=True)
class Shape:
    """The shapes of the weights follow from it."""

    resolved: str | None = None
    """The attribute to compare in its place, where null stands for what follows from other keys."""


@dataclass(frozen=True)
class Behaviour:
    """It makes another function of the same weights."""


@dataclass(frozen=True)
class ChangesWithTokenizer:
    """A run that takes a checkpoint over with another tokenizer may have another value of its shape or behaviour."""


@dataclass(frozen=True)
class OneDevice:
    """It divides a model over devices."""

    value: int | bool | None
    """The value for a model that is not divided."""


M = TypeVar("M")


def marked(section: type[BaseModel], mark: type[M]) -> dict[str, M]:
    """Return a section's own keys that have a mark of a class, in their order, with the mark."""
    found = {key: mark_of(field, mark) for key, field in section.model_fields.items()}
    return {key: own for key, own in found.items() if own is not None}


def mark_of(field: FieldInfo, mark: type[M]) -> M | None:
    """Return a field's mark of a class; None if it has none."""
    return next((each for each in field.metadata if isinstance(each, mark)), None)


def named_sections(annotation: Any) -> type[BaseModel] | None:
    """Return the section whose instances a key holds by name, as ``curriculum.stages``; None for other keys."""
    is_dict = get_origin(annotation) is dict
    return next((inner for inner in get_args(annotation) if is_dict and _is_section(inner)), None)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a key holds, or null in its place; None for other keys."""
    choices = (annotation, *(get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()))
    return next((choice for choice in choices if _is_section(choice)), None)


def known_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key of a section in dotted form; a stage's name is written ``<stage>``, a teacher's ``<teacher>``."""
    for key, field in section.model_fields.items():
        if inner := section_in(field.annotation):
            yield from known_keys(inner, f"{prefix}{key}.")
        elif inner := named_sections(field.annotation):
            yield from known_keys(inner, f"{prefix}{key}.<{key.removesuffix('s')}>.")
        else:
            yield prefix + key


def parts_of(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the class of a section and those it is put together from, and of every section in it."""
    yield from (part for part in section.__mro__ if _is_section(part))
    for field in section.model_fields.values():
        if inner := section_in(field.annotation) or named_sections(field.annotation):
            yield from parts_of(inner)


def may_change(section: type[BaseModel], key: str) -> bool:
    """Tell whether a dotted key of a config, or a section that it is in, is marked `MayChange`, and it not `MustKeep`.

    Args:
        section: the config's class.
        key: with the name of a stage, and behind a key that holds a mapping with what is in it, as ``...mix.web``.
    """
    names = iter(key.split("."))
    changes = False
    for name in names:
        field = section.model_fields[name]
        changes = (changes or mark_of(field, MayChange) is not None) and mark_of(field, MustKeep) is None
        if inner := named_sections(field.annotation):
            next(names, None)
        else:
            inner = section_in(field.annotation)
        if inner is None:
            break
        section = inner
    return changes


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
