"""Items' requests as rows of tokens, in forward passes of fixed shapes. Needs no torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.passes import Pass
from custom_modules.scoring.shapes import Shapes
from custom_modules.tasks.items import Answer, Continuation, Item

Tokens = NDArray[np.int32]
Sums = list[list[float]]
"""The log-likelihoods of a pass's rows, of each row's continuations, in nats."""


@dataclass(frozen=True)
class Row:
    """A context and continuations that differ in their last token alone: what a model reads for them at once."""

    tokens: Tokens
    """``[n]``: the context and the continuation without its last token."""
    scored: int
    """How many tokens of a continuation are scored: at so many last positions of the row."""
    lasts: tuple[int, ...]
    """The continuations' last tokens."""

    @property
    def is_single(self) -> bool:
        """Whether one token of each continuation is scored."""
        return self.scored == 1

    @property
    def key(self) -> str:
        """Return what no other row is called."""
        said = f"{self.scored} {self.lasts}".encode()
        return hashlib.sha256(said + b"\0" + self.tokens.tobytes()).hexdigest()[:32]


@dataclass(frozen=True)
class Place:
    """Where the log-likelihood of a request comes from."""

    row: int
    """-1: no token of it can be scored."""
    last: int
    """Which of the row's last tokens is its own."""
    cut: int
    """Tokens of its context that were left out."""
    nothing_left: bool


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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and their length."""
        count, length = self.tokens.shape
        return count, length


class Rows:
    """All rows of some items, and the passes that they are computed in.

    A row's bucket depends on the row alone, and a pass has rows of one bucket, the longest first: what does not fit
    into a device's memory is known at once.

    Args:
        items: whose requests are continuations.
        max_length: tokens that the model reads at most.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder, max_length: int, shapes: Shapes) -> None:
        self.rows: list[Row] = []
        self.places: list[tuple[Place, ...]] = []
        self._lasts: list[list[int]] = []
        self._heads: list[tuple[Tokens, int]] = []
        numbers: dict[tuple[bytes, int], int] = {}
        for item in items:
            self.places.append(tuple(self._place(request, encoder, max_length, numbers) for request in item.requests))
        for (tokens, scored), lasts in zip(self._heads, self._lasts, strict=True):
            self.rows.append(Row(tokens, scored, tuple(lasts)))
        self.passes = list(_passes(self.rows, shapes))

    def _place(
        self, request: object, encoder: Encoder, max_length: int, numbers: dict[tuple[bytes, int], int]
    ) -> Place:
        assert isinstance(request, Continuation)
        context, continuation = encoder.pair(request.context, request.text)
        scored = min(len(continuation), max_length)
        whole = np.array([*context, *continuation], np.int32)
        kept = whole[-(max_length + 1) :]
        cut = len(context) - max(0, len(kept) - len(continuation))
        if not scored:
            return Place(-1, 0, cut, True)
        key = (kept[:-1].tobytes(), scored)
        row = numbers.setdefault(key, len(numbers))
        if row == len(self._heads):
            self._heads.append((kept[:-1], scored))
            self._lasts.append([])
        last, lasts = int(kept[-1]), self._lasts[row]
        if last not in lasts:
            lasts.append(last)
        return Place(row, lasts.index(last), cut, scored < len(continuation))

    @property
    def tokens(self) -> int:
        """What a model reads for all of them, without what fills passes up."""
        return sum(len(row.tokens) for row in self.rows)

    def batch(self, number: int) -> Batch:
        """Return a pass's numbers."""
        wanted = self.passes[number]
        members = [self.rows[index] for index in wanted.members]
        tokens = np.zeros(wanted.shape, np.int64)
        for place, row in enumerate(members):
            tokens[place, : len(row.tokens)] = row.tokens
        scored = sum(row.scored for row in members)
        size = -(-scored // wanted.at_once) * wanted.at_once
        rows, positions = np.zeros(size, np.int64), np.zeros(size, np.int64)
        asked = np.zeros((size, max(len(row.lasts) for row in members)), np.int64)
        begin = 0
        for place, row in enumerate(members):
            end, length = begin + row.scored, len(row.tokens)
            rows[begin:end] = place
            positions[begin:end] = np.arange(length - row.scored, length)
            asked[begin : end - 1, 0] = row.tokens[length - row.scored + 1 :]
            asked[end - 1, : len(row.lasts)] = row.lasts
            begin = end
        return Batch(tokens, rows, positions, asked, wanted.at_once)

    def sums(self, number: int, found: NDArray[np.float32]) -> Sums:
        """Add up what a model has found for a pass.

        Args:
            found: fp32 ``[n, k]``, as the batch asked.

        Returns:
            For each of the pass's rows the log-likelihoods of its continuations, in the order of ``lasts``.
        """
        sums, begin = [], 0
        for index in self.passes[number].members:
            row = self.rows[index]
            end = begin + row.scored
            before = [float(value) for value in found[begin : end - 1, 0]]
            sums.append([math.fsum([*before, float(last)]) for last in found[end - 1, : len(row.lasts)]])
            begin = end
        return sums

    def answers(self, sums: Sequence[Sequence[float]]) -> list[tuple[Answer, ...]]:
        """Return each item's answers.

        Args:
            sums: by row, as `sums` gives them.
        """
        return [tuple(self._answer(place, sums) for place in places) for places in self.places]

    def _answer(self, place: Place, sums: Sequence[Sequence[float]]) -> Answer:
        if place.row < 0:
            return Answer(0.0, cut=place.cut, nothing_left=True)
        tokens = self.rows[place.row].scored
        return Answer(sums[place.row][place.last], tokens=tokens, cut=place.cut, nothing_left=place.nothing_left)


def _passes(rows: Sequence[Row], shapes: Shapes) -> Iterator[Pass]:
    buckets: dict[tuple[int, bool], list[int]] = {}
    for number, row in enumerate(rows):
        buckets.setdefault((shapes.length(len(row.tokens)), row.is_single), []).append(number)
    for (length, is_single), numbers in sorted(buckets.items(), reverse=True):
        count = shapes.rows(length)
        for begin in range(0, len(numbers), count):
            members = tuple(numbers[begin : begin + count])
            yield Pass(length, count, members, shapes.at_once(length, is_single))
