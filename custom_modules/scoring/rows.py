"""Items' requests as rows of tokens, in forward passes of fixed shapes. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custom_modules.scoring.batch import Batch, a_text_a_row, one_sequence
from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.passes import Pass
from custom_modules.scoring.row import Row, Tokens
from custom_modules.scoring.row_passes import row_passes, sequence_passes
from custom_modules.scoring.shapes import Shapes
from custom_modules.tasks.items import Answer, Continuation, Item

Sums = list[list[float]]
"""The log-likelihoods of a pass's rows, of each row's continuations, in nats."""


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


class Rows:
    """All rows of some items, and the passes that they are computed in.

    A row's bucket, and what it may share, depend on its request alone; a pass has rows of one bucket, the longest
    first: what does not fit into a device's memory is known at once.

    Args:
        items: whose requests are continuations.
        max_length: tokens that the model reads at most.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder, max_length: int, shapes: Shapes) -> None:
        self.rows: list[Row] = []
        self.places: list[tuple[Place, ...]] = []
        self._lasts: list[list[int]] = []
        self._heads: list[tuple[Tokens, int, int]] = []
        self._shares = shapes.shares
        numbers: dict[tuple[bytes, int, int], int] = {}
        for item in items:
            self.places.append(tuple(self._place(request, encoder, max_length, numbers) for request in item.requests))
        for (tokens, scored, shared), lasts in zip(self._heads, self._lasts, strict=True):
            self.rows.append(Row(tokens, scored, tuple(lasts), shared))
        passes = sequence_passes if shapes.shares else row_passes
        self.passes: list[Pass] = list(passes(self.rows, shapes))

    def _place(
        self, request: object, encoder: Encoder, max_length: int, numbers: dict[tuple[bytes, int, int], int]
    ) -> Place:
        assert isinstance(request, Continuation)
        context, continuation = encoder.pair(request.context, request.text)
        scored = min(len(continuation), max_length)
        whole = np.array([*context, *continuation], np.int32)
        kept = whole[-(max_length + 1) :]
        cut = len(context) - max(0, len(kept) - len(continuation))
        if not scored:
            return Place(-1, 0, cut, True)
        shared = 0
        if self._shares:
            # With a token scored, the examples before a question; with more, all of the context but its last token.
            unscored = len(kept) - 1 - scored
            shared = unscored if scored > 1 else min(unscored, 0 if cut else encoder.examples(request.context))
        key = (kept[:-1].tobytes(), scored, shared)
        row = numbers.setdefault(key, len(numbers))
        if row == len(self._heads):
            self._heads.append((kept[:-1], scored, shared))
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
        return one_sequence(wanted, members) if self._shares else a_text_a_row(wanted, members)

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
