"""The samples of a stage that are not read yet, in another order: what a run does after a loss spike.

It is done in each part, below the mix, which keeps its pattern: of every epoch the samples behind the cut are shuffled
among themselves, so that each is read once an epoch as before. Cuts compose: a later one shuffles what the earlier ones
left behind it. The order follows from the cuts and the counts of samples alone, on any number of devices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.index_files import publish_index_files

Order: TypeAlias = NDArray[np.unsignedinteger[Any]]
_AT_ONCE = 1 << 24
"""Samples of a mix that are counted at a time."""


class Cut(NamedTuple):
    """Where another order begins."""

    place: int
    """Samples before it, which stay where they are."""
    seed: int


class PartCuts(NamedTuple):
    """The cuts of one part, in the order they were made."""

    starts: tuple[int, ...]
    """Where its epochs begin, and the last ends."""
    cuts: tuple[Cut, ...]


def publish_orders(cache: Path, parts: Sequence[PartCuts]) -> Path:
    """Make the orders of some parts, as memory-mapped files, where they are not there yet.

    One process calls it.

    Args:
        cache: the folder of index files.
        parts: with as many cuts each, at least one.

    Returns:
        The folder of the files, for `open_order`.

    Raises:
        UserError: a file cannot be read or written.
    """
    folder = cache / hashlib.sha256(repr(("orders", [tuple(part) for part in parts])).encode()).hexdigest()[:24]

    def build(aside: Path) -> None:
        before = [PartCuts(starts, cuts[:-1]) for starts, cuts in parts]
        earlier = publish_orders(cache, before) if before[0].cuts else None
        for number, part in enumerate(parts):
            order = _whole(part.starts[-1]) if earlier is None else np.array(open_order(earlier, number))
            _shuffle(order, part.starts, part.cuts[-1], number)
            np.save(aside / _file(number), order)

    publish_index_files(folder, build)
    return folder


def open_order(folder: Path, number: int) -> Order:
    """Return a part's order, ``[samples of all epochs]``: the place to read the sample of each place from.

    Args:
        number: of the part, from 0.
    """
    order: Order = np.load(folder / _file(number), mmap_mode="r")
    return order


def places_in_parts(chosen: NDArray[Any], parts: int, samples: int) -> list[int]:
    """Count the samples of each part among the first of a mix.

    Args:
        chosen: the part of each sample of the mix.
        samples: how many of them are counted.
    """
    counts = np.zeros(parts, dtype=np.int64)
    for begin in range(0, samples, _AT_ONCE):
        counts += np.bincount(chosen[begin : min(begin + _AT_ONCE, samples)], minlength=parts)
    return [int(count) for count in counts]


def _whole(samples: int) -> Order:
    return np.arange(samples, dtype=np.uint32 if samples <= 1 << 32 else np.uint64)


def _shuffle(order: Order, starts: Sequence[int], cut: Cut, number: int) -> None:
    """Shuffle in place what lies behind a cut, epoch by epoch.

    NumPy's `RandomState` gives the same numbers in every version; its `Generator` need not.
    """
    for epoch, (begin, end) in _behind(starts, cut.place):
        np.random.RandomState([cut.seed, number, epoch]).shuffle(order[begin:end])


def _behind(starts: Sequence[int], place: int) -> Iterator[tuple[int, tuple[int, int]]]:
    for epoch, (begin, end) in enumerate(pairwise(starts)):
        if max(begin, place) < end:
            yield epoch, (max(begin, place), end)


def _file(number: int) -> str:
    return f"order_{number}.npy"
