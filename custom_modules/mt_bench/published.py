"""The report's own figures, of ``published.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

_FILE = Path(__file__).with_name("published.yaml")
_Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Published:
    """A model's column in the report.

    Attributes:
        name: as the report calls it.
        source: the section.
        turn_1, turn_2: by category.
        without_coding, all_categories: its averages by ``turn_1``, ``turn_2`` and ``both_turns``, as far as printed.
    """

    name: str
    source: str
    turn_1: _Numbers = field(default_factory=dict)
    turn_2: _Numbers = field(default_factory=dict)
    without_coding: _Numbers = field(default_factory=dict)
    all_categories: _Numbers = field(default_factory=dict)

    def of(self, turn: int) -> _Numbers:
        """Return the figures of a turn by category."""
        return self.turn_1 if turn == 1 else self.turn_2


@cache
def published() -> tuple[Published, ...]:
    """Return the columns in the report's order."""
    return tuple(Published(**column) for column in yaml.safe_load(_FILE.read_bytes()))
