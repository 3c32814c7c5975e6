"""What is known of a data step without its code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, get_args, get_type_hints

from custom_modules.data_steps.kinds import Needed, in_words
from custom_modules.data_steps.options import NoOptions


@dataclass(frozen=True)
class Required:
    """Stands where an option has no default."""


REQUIRED: Final = Required()


@dataclass(frozen=True)
class Option:
    """An option of a step: a key below ``data.steps.<step>``."""

    name: str
    kind: Any
    """Its type, with its range."""
    default: object = REQUIRED

    @property
    def type(self) -> str:
        """What it takes, for people."""
        return in_words(self.kind)


@dataclass(frozen=True)
class DataStep:
    """A step of `danube prepare`: a key of ``data.steps``."""

    name: str
    looks_at: Literal["document", "corpus"]
    """Whether it judges a document alone, or has to see all of them."""
    what: str
    """What it does, in a line."""
    source: str
    """The paper's section or the library that it is from."""
    takes: type = NoOptions
    """The class of its options, of `custom_modules.data_steps.options`."""

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Its options, in their order."""
        return tuple(_options(self.takes))

    @property
    def option_names(self) -> list[str]:
        """The names of its options, in their order."""
        return [option.name for option in self.options]


def _options(takes: type) -> Iterator[Option]:
    kinds = get_type_hints(takes, include_extras=True)
    for field in fields(takes):
        is_needed = field.default is MISSING or Needed() in get_args(kinds[field.name])
        yield Option(field.name, kinds[field.name], REQUIRED if is_needed else field.default)
