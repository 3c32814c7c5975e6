"""Rows dealt out to forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from custom_modules.scoring.passes import Pass
from custom_modules.scoring.row import Row
from custom_modules.scoring.shapes import Shapes


def row_passes(rows: Sequence[Row], shapes: Shapes) -> Iterator[Pass]:
    """Yield passes of as many rows as their length allows, the longest first."""
    buckets: dict[tuple[int, bool], list[int]] = {}
    for number, row in enumerate(rows):
        buckets.setdefault((shapes.length(len(row.tokens)), row.is_single), []).append(number)
    for (length, is_single), numbers in sorted(buckets.items(), reverse=True):
        count = shapes.rows(length)
        for begin in range(0, len(numbers), count):
            members = tuple(numbers[begin : begin + count])
            yield Pass(length, count, members, shapes.at_once(length, is_single))


def sequence_passes(rows: Sequence[Row], shapes: Shapes) -> Iterator[Pass]:
    """Yield passes of one sequence each, the longest first, in which rows with one beginning follow each other."""
    families: dict[int, dict[bytes, list[int]]] = {}
    for number, row in enumerate(rows):
        of_length = families.setdefault(shapes.sequence(len(row.tokens)), {})
        of_length.setdefault(row.beginning, []).append(number)
    for length, of_length in sorted(families.items(), reverse=True):
        members: list[int] = []
        room = length
        for numbers in of_length.values():
            is_begun = False
            for number in numbers:
                row = rows[number]
                needed = len(row.tokens) - row.shared * is_begun
                if needed > room:
                    yield Pass(length, 1, tuple(members), shapes.positions)
                    members, room, needed = [], length, len(row.tokens)
                members.append(number)
                room -= needed
                is_begun = True
        yield Pass(length, 1, tuple(members), shapes.positions)
