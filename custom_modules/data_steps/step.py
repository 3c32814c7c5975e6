"""What is known of a data step without its code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
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
    """Plain values, as they are written in YAML."""
    source: str = ""
    """Where the default is from, if it decides what becomes of a document."""
    made_by: str = ""
    """The command that makes what is needed, where it is the user's own."""

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
    defaults_from: Mapping[str, str] = field(default_factory=dict)
    """Where the defaults of options are from, by name; ``*`` stands for the others."""
    made_by: str = ""
    """The command that makes what the step needs, where it is the user's own."""

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Its options, in their order."""
        return tuple(_options(self))

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


def _options(step: DataStep) -> Iterator[Option]:
    kinds = get_type_hints(step.takes, include_extras=True)
    for one in fields(step.takes):
        if one.default is MISSING or Needed() in get_args(kinds[one.name]):
            yield Option(one.name, kinds[one.name], made_by=step.made_by)
        else:
            source = step.defaults_from.get(one.name, step.defaults_from.get("*", ""))
            yield Option(one.name, kinds[one.name], one.default, source)
