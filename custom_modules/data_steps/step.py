"""What is known of a data step without its code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, get_type_hints

from custom_modules.data_steps.kinds import From, Needed, in_words, mark_of
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
    source: str = ""
    """Where the default is from, if it decides what becomes of a document."""
    made_by: str = ""
    """The command that makes what is needed, where it is the user's own."""
    yours: str = ""
    """What the user must bring, where no command makes it."""

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

    def lacking(self, given: Mapping[str, object]) -> list[Option]:
        """The options that are needed and not given: absent, null, empty or ``???``."""
        return [
            option
            for option in self.options
            if option.default is REQUIRED and given.get(option.name) in (None, "", "???")
        ]


def _options(takes: type) -> Iterator[Option]:
    kinds = get_type_hints(takes, include_extras=True)
    for field in fields(takes):
        kind = kinds[field.name]
        needed, source = mark_of(kind, Needed), mark_of(kind, From)
        yield Option(
            field.name,
            kind,
            REQUIRED if needed or field.default is MISSING else field.default,
            source.source if source else "",
            needed.made_by if needed else "",
            needed.yours if needed else "",
        )
