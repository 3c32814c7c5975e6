"""The documents that steps over the whole corpus drop, in a file a unit: memory never holds those of all units."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path

import orjson

from data_prep.input.documents import Removal
from data_prep.steps.filter_shard import DocumentWriter, read_lines

Dropped = tuple[int, Removal]
"""A document's index in its unit, and why it goes."""


@dataclass(frozen=True)
class Drops:
    """The documents of a unit that such steps have dropped; to iterate reads them, by their index, ascending."""

    paths: tuple[Path, ...] = ()
    """A file for each step that dropped any of the unit."""

    def __iter__(self) -> Iterator[Dropped]:
        return merge(*map(_read, self.paths), key=itemgetter(0))

    @property
    def key(self) -> str:
        """Another when another document is dropped, or for another reason."""
        whole = hashlib.blake2b(digest_size=16)
        for path in self.paths:
            whole.update(hashlib.blake2b(path.read_bytes()).digest())
        return whole.hexdigest()

    def in_turn(self) -> Callable[[int], Removal | None]:
        """Return what tells of a document's index whether it is dropped; indices have to come in ascending order."""
        left = iter(self)
        waiting = next(left, None)

        def removal(index: int) -> Removal | None:
            nonlocal waiting
            while waiting is not None and waiting[0] < index:
                waiting = next(left, None)
            return waiting[1] if waiting is not None and waiting[0] == index else None

        return removal


@dataclass(frozen=True)
class DroppedIndices:
    """The indices of a unit's dropped documents alone; they are read whenever it is iterated."""

    drops: Drops

    def __iter__(self) -> Iterator[int]:
        return (index for index, _ in self.drops)


def _read(path: Path) -> Iterator[Dropped]:
    for line in read_lines(path):
        record = orjson.loads(line)
        yield record["index"], Removal(record["step"], record["reason"], record["detail"])


def drops_file(folder: Path, unit: int) -> Path:
    """Where a step says what it drops of a unit; a unit of which it drops nothing has no file."""
    return folder / f"{unit:06d}.jsonl.zst"


def write_drops(folder: Path, unit: int, drops: Iterable[Dropped]) -> int:
    """Write a unit's file, if there is anything to write in it.

    Args:
        drops: by their index, ascending.

    Returns:
        How many documents are dropped.

    Raises:
        UserError: the file cannot be written.
    """
    left = iter(drops)
    first = list(islice(left, 1))
    if not first:
        return 0
    count = 0
    with DocumentWriter(drops_file(folder, unit)) as file:
        for index, removal in chain(first, left):
            count += 1
            file.write({"index": index, "step": removal.step, "reason": removal.reason, "detail": removal.detail})
    return count
