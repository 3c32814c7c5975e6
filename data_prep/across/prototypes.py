"""Self-Supervised-Prototypes Pruning: documents that are typical of their kind are left out.

Sorscher et al. 2022, arXiv:2206.14486: a document's difficulty is its distance to the nearest prototype, a
k-means centroid. With much data the difficult ones are worth keeping, with little the easy ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import PrototypeOptions
from data_prep.across.assigned import read_assigned
from data_prep.across.drops import write_drops
from data_prep.across.order import Mapped, kth_smallest
from data_prep.input.documents import Removal
from data_prep.semantic.embeddings import VectorCorpus
from data_prep.work.workers import Pool

NAME = "prototypes"

Numbers = tuple[NDArray[np.float64], NDArray[np.uint64]]
"""Values and keys of some documents: [n] both."""


def find_typical(
    corpus: VectorCorpus,
    files: Sequence[Path],
    counts: NDArray[np.int64],
    options: PrototypeOptions,
    workers: Pool,
    into: Path,
) -> int:
    """Find what to remove.

    Exactly ``floor(drop_fraction * documents)`` go, over all shards. Which ones depends on neither the cut of the
    shards nor, but for documents of the very same vector, their order. Memory does not grow with them.

    Args:
        files, counts: of `data_prep.across.assigned.assign_units`.
        into: as `data_prep.across.corpus_step.CorpusStep.find` has it.

    Returns:
        How many documents are dropped.

    Raises:
        UserError: a file that cannot be read or written.
    """
    count = int(Fraction(str(options.drop_fraction)) * int(counts.sum()))
    numbers = Mapped(tuple(files), partial(_numbers_of, keep=options.keep))
    gone = find_smallest(numbers, count)
    calls, ties = [], gone.ties
    for unit, (values, keys) in enumerate(numbers):
        calls.append((files[unit], int(corpus.offsets[unit]), unit, gone, ties, options.keep, into))
        ties -= min(ties, gone.count_ties(values, keys))
    return sum(dropped for _, dropped in workers.run(_write, calls))


def _numbers(assigned: NDArray[Any], keep: str) -> Numbers:
    """What decides, the smallest going first: distances to the prototype or, to keep the easy ones, minus those."""
    distances = 1 - assigned["cosine"]
    return distances if keep == "hard" else -distances, assigned["key"]


def _numbers_of(file: Path, keep: str) -> Numbers:
    return _numbers(read_assigned(file), keep)


def _write(file: Path, begin: int, unit: int, gone: Smallest, ties: int, keep: str, into: Path) -> int:
    """Write what is dropped of a unit."""
    assigned = read_assigned(file)
    some = assigned[gone.among(*_numbers(assigned, keep), ties)]
    reason = "near to its prototype" if keep == "hard" else "far from its prototype"
    return write_drops(
        into,
        unit,
        (
            (index, Removal(NAME, reason, f"distance {distance:.4f}"))
            for index, distance in zip((some["position"] - begin).tolist(), 1 - some["cosine"], strict=True)
        ),
    )


@dataclass(frozen=True)
class Smallest:
    """Which documents have the smallest values; of equals those with the smallest keys, then the first."""

    limit: float
    """All with a smaller value are among them."""
    key: int
    """Of those with this value all with a smaller key."""
    ties: int
    """Of those with this key, too, so many, the first."""

    def among(self, values: NDArray[np.float64], keys: NDArray[np.uint64], ties: int) -> NDArray[np.int64]:
        """Return the indices, ascending, of those among some documents.

        Args:
            values, keys: [n] both.
            ties: how many with the last value and key are left for them.
        """
        below, last = self._compared(values, keys)
        below[np.flatnonzero(last)[:ties]] = True
        return np.flatnonzero(below)

    def count_ties(self, values: NDArray[np.float64], keys: NDArray[np.uint64]) -> int:
        """Return how many have the last value and key."""
        return int(self._compared(values, keys)[1].sum())

    def _compared(
        self, values: NDArray[np.float64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        equal, key = values == self.limit, np.uint64(self.key)
        return (values < self.limit) | (equal & (keys < key)), equal & (keys == key)


def find_smallest(numbers: Iterable[Numbers], count: int) -> Smallest:
    """Find what tells the ``count`` smallest from the others.

    Args:
        numbers: in pieces; they are iterated several times.
    """
    if not count:
        return Smallest(-np.inf, 0, 0)
    limit = kth_smallest(Mapped(numbers, _values), count - 1)
    left = count - sum(int((values < limit).sum()) for values, _ in numbers)
    key = kth_smallest(Mapped(numbers, partial(_keys_at, limit=limit)), left - 1)
    ties = left - sum(int(((values == limit) & (keys < key)).sum()) for values, keys in numbers)
    return Smallest(float(limit), int(key), ties)


def _values(numbers: Numbers) -> NDArray[np.float64]:
    return numbers[0]


def _keys_at(numbers: Numbers, limit: float) -> NDArray[np.uint64]:
    values, keys = numbers
    return keys[values == limit]
