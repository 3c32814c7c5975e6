"""Texts of one sequence that have their beginning in common: where each stands. Needs no torch."""

from __future__ import annotations

from typing import NamedTuple


class Segment(NamedTuple):
    """Tokens ``begin .. end - 1`` of a sequence, each of which sees those before it and all of a beginning's."""

    begin: int
    end: int
    shared_begin: int = 0
    shared_end: int = 0
    """The beginning, tokens ``shared_begin .. shared_end - 1``; none where both are equal."""
