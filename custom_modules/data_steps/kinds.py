"""What an option of a data step may be: types with their ranges, and how people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Interval, MinLen, Predicate

Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Called:
    """How people read a type, in place of its own name."""

    name: str


@dataclass(frozen=True)
class Needed:
    """Null stands for: not given yet. The step refuses it, and says where to get what it needs."""

    made_by: str = ""
    """The command that makes what is needed, where it is the user's own."""
    yours: str = ""
    """What the user must bring, where no command makes it."""


@dataclass(frozen=True)
class From:
    """Where a default is from, if it decides what becomes of a document."""

    source: str


_Finite = Annotated[float, Predicate(math.isfinite)]
_Named = Annotated[str, MinLen(1)]

Count = Annotated[int, Interval(ge=1)]
CountFromZero = Annotated[int, Interval(ge=0)]
CountOrOff = Annotated[int, Interval(ge=-1)]
"""-1: the rule is off."""
Seed = Annotated[int, Interval(ge=0, lt=2**31)]
Share = Annotated[_Finite, Interval(ge=0, le=1)]
ShareAboveZero = Annotated[_Finite, Interval(gt=0, le=1)]
ShareBelowOne = Annotated[_Finite, Interval(ge=0, lt=1)]
ShareBetween = Annotated[_Finite, Interval(gt=0, lt=1)]
Ratio = Annotated[_Finite, Interval(ge=0)]
Text = Annotated[_Named, Called("text")]
Texts = tuple[Text, ...]
File = Annotated[_Named, Called("file")]
Folder = Annotated[_Named, Called("folder")]
Paths = Annotated[tuple[_Named, ...], MinLen(1), Called("list of files and folders")]
Device = Annotated[str, Predicate(re.compile(r"cpu|cuda(:\d+)?").fullmatch), Called("cpu | cuda | cuda:NUMBER")]
WordSplitter = Literal["spacy", "regex"]

_NAMES = {NoneType: "null", bool: "true | false", str: "text"}
_LIMITS = {"ge": " from {}", "gt": " above {}", "le": " to {}", "lt": ", below {}"}


def in_words(annotation: Any) -> str:
    """Return a type as people read it: ``int from 1``, ``float from 0 to 1 | null``, ``list of text``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if called := mark_of(annotation, Called):
            return called.name
        name = in_words(arguments[0])
        return "".join([name.removesuffix(" | null") if mark_of(annotation, Needed) else name, *_limits(arguments)])
    if origin in (Union, UnionType):
        return " | ".join(map(in_words, arguments))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        is_list = arguments[-1] is Ellipsis
        return f"list of {in_words(arguments[0])}" if is_list else f"[{', '.join(map(in_words, arguments))}]"
    return _NAMES.get(annotation) or str(annotation.__name__)


def mark_of(annotation: Any, kind: type[Mark]) -> Mark | None:
    """Return a type's mark of a class; None if it has none."""
    return next((mark for mark in get_args(annotation) if isinstance(mark, kind)), None)


def is_list(annotation: Any) -> bool:
    """Whether nothing but a list will do."""
    if get_origin(annotation) is Annotated:
        return is_list(get_args(annotation)[0])
    return get_origin(annotation) is tuple


def _limits(marks: tuple[Any, ...]) -> Iterator[str]:
    for mark in marks:
        if isinstance(mark, Interval):
            for name, form in _LIMITS.items():
                if (limit := getattr(mark, name)) is not None:
                    yield form.format(limit)
