"""What is known of a data step without its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Required:
    """Stands where an option has no default."""


REQUIRED: Final = Required()


@dataclass(frozen=True)
class Option:
    """An option of a step: a key below ``data.steps.<step>``."""

    name: str
    type: str
    """What it takes, for people."""
    default: object = REQUIRED
    """Plain values, as they are written in YAML."""
    source: str = ""
    """Where the default is from, if it decides what becomes of a document."""
    made_by: str = ""
    """The command that makes what is needed, where it is the user's own."""


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
    options: tuple[Option, ...] = ()

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
