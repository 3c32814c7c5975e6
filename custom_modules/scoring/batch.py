"""The numbers of a forward pass. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custom_modules.model.segments import Segment
from custom_modules.scoring.passes import Pass
from custom_modules.scoring.row import Row


@dataclass(frozen=True)
class Batch:
    """A pass's numbers, for a model."""

    tokens: NDArray[np.int64]
    """``[rows, length]``."""
    rows: NDArray[np.int64]
    """``[n]``: whose positions log-probabilities are asked at; n is a multiple of ``at_once``."""
    positions: NDArray[np.int64]
    """``[n]``."""
    asked: NDArray[np.int64]
    """``[n, k]``: tokens that may follow each position."""
    at_once: int
    places: NDArray[np.int64] | None = None
    """``[length]``: each token's place in its text, where one row has several."""
    segments: tuple[Segment, ...] = ()
    """Where they stand in it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and their length."""
        count, length = self.tokens.shape
        return count, length


def a_text_a_row(one_pass: Pass, rows: Sequence[Row]) -> Batch:
    """Return the numbers of a pass whose rows have a text each, filled up on the right."""
    tokens = np.zeros(one_pass.shape, np.int64)
    for place, row in enumerate(rows):
        tokens[place, : len(row.tokens)] = row.tokens
    return _asking(one_pass, rows, tokens, list(range(len(rows))), [len(row.tokens) for row in rows])


def one_sequence(one_pass: Pass, rows: Sequence[Row]) -> Batch:
    """Return the numbers of a pass that is one sequence: beginnings, and behind each what its rows go on with."""
    tokens, places = np.zeros(one_pass.shape, np.int64), np.zeros(one_pass.length, np.int64)
    segments: list[Segment] = []
    beginning, shared, end = None, (0, 0), 0

    def put(row: Row, first: int, last: int, shared: tuple[int, int]) -> int:
        stop = end + last - first
        tokens[0, end:stop] = row.tokens[first:last]
        places[end:stop] = np.arange(first, last)
        segments.append(Segment(end, stop, *shared))
        return stop

    ends = []
    for row in rows:
        if row.beginning != beginning:
            beginning, shared = row.beginning, (end, end + row.shared)
            if row.shared:
                end = put(row, 0, row.shared, (0, 0))
        end = put(row, row.shared, len(row.tokens), shared)
        ends.append(end)
    return _asking(one_pass, rows, tokens, [0] * len(rows), ends, places, tuple(segments))


def _asking(
    one_pass: Pass,
    rows: Sequence[Row],
    tokens: NDArray[np.int64],
    lines: Sequence[int],
    ends: Sequence[int],
    places: NDArray[np.int64] | None = None,
    segments: tuple[Segment, ...] = (),
) -> Batch:
    """Return the batch of some tokens, asking for what the rows score.

    Args:
        lines: which of the batch's rows each row stands in.
        ends: behind which position of it.
    """
    scored = sum(row.scored for row in rows)
    size = -(-scored // one_pass.at_once) * one_pass.at_once
    where, positions = np.zeros(size, np.int64), np.zeros(size, np.int64)
    asked = np.zeros((size, max(len(row.lasts) for row in rows)), np.int64)
    begin = 0
    for row, line, stop in zip(rows, lines, ends, strict=True):
        end, length = begin + row.scored, len(row.tokens)
        where[begin:end] = line
        positions[begin:end] = np.arange(stop - row.scored, stop)
        asked[begin : end - 1, 0] = row.tokens[length - row.scored + 1 :]
        asked[end - 1, : len(row.lasts)] = row.lasts
        begin = end
    return Batch(tokens, where, positions, asked, one_pass.at_once, places, segments)
