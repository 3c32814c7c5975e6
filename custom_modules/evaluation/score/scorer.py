"""Passes dealt out whole to the ranks that have the model, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from custom_modules.evaluation.score.rows import Batch, Rows
from custom_modules.evaluation.score.shapes import Shapes
from custom_modules.evaluation.tasks.items import Answer, Item

Sums = list[list[float]]
"""The log-likelihoods of a pass's rows, of each row's continuations, in nats."""
BATCH_SIZE = 8
"""Passes that are prepared at a time."""


class Scorer(Protocol):
    """Answers tasks' items."""

    def score(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        """Return the answers to each item's requests. Collective."""


class Model(Protocol):
    """Computes passes; with several processes, this rank's part of them."""

    max_length: int
    """Tokens that it reads at most."""
    shapes: Shapes

    def log_probabilities(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """Return what each of some batches of one shape asks, ``[n, k]``; nothing where another rank has it."""


@dataclass(frozen=True)
class Ranks:
    """The processes that have a whole model each, or share one."""

    number: int = 0
    """Which of the models is this process's."""
    count: int = 1
    """Models that passes are dealt out to."""
    gather: Callable[[Any], Sequence[Any]] = lambda value: [value]
    """Gives every process what each has passed. Collective."""


def score_rows(
    rows: Rows,
    model: Model,
    ranks: Ranks = Ranks(),
    batch_size: int = BATCH_SIZE,
    known: Mapping[int, Sums] | None = None,
    done: Callable[[Mapping[int, Sums]], None] | None = None,
) -> list[Sequence[float]]:
    """Compute the log-likelihoods of all rows. Collective.

    Args:
        batch_size: passes of each model that are prepared at a time; no score depends on it.
        known: passes that were computed before, by their number; the same on every process.
        done: is told on every process what was computed, by the pass's number, as soon as all have their share.

    Returns:
        For each row the log-likelihoods of its continuations, on every process.
    """
    found = dict(known or {})
    missing = [number for number in range(len(rows.passes)) if number not in found]
    for turn in _chunks(missing, batch_size * ranks.count):
        mine = turn[ranks.number :: ranks.count]
        # Ranks that divide the weights gather them together: each passes forward as often as the others.
        idle = -(-len(turn) // ranks.count) - len(mine)
        computed = _compute(rows, model, [*mine, *turn[:1] * idle])
        shares = ranks.gather({number: computed[number] for number in mine if number in computed})
        of_all = {number: sums for share in shares for number, sums in share.items()}
        found.update(of_all)
        if done is not None:
            done(of_all)
    by_row: list[Sequence[float]] = [()] * len(rows.rows)
    for number, one_pass in enumerate(rows.passes):
        for index, sums in zip(one_pass.members, found[number], strict=True):
            by_row[index] = sums
    return by_row


def _compute(rows: Rows, model: Model, numbers: Iterable[int]) -> dict[int, Sums]:
    found: dict[int, Sums] = {}
    for _, group in groupby(numbers, key=lambda number: rows.passes[number].shape):
        same = list(group)
        outputs = model.log_probabilities([rows.batch(number) for number in same])
        found.update((number, rows.sums(number, output)) for number, output in zip(same, outputs, strict=False))
    return found


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for begin in range(0, len(numbers), size):
        yield numbers[begin : begin + size]
