"""Exact copies: texts that are equal once case, accents' form, white space and punctuation are put aside."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained
from data_prep.across.drops import Dropped, Drops, write_drops
from data_prep.across.partitions import Partitions, between, partition_file, partitions_for, pieces_of
from data_prep.across.positions import document_counts, offsets_of, unit_groups
from data_prep.across.room import say_room
from data_prep.input.documents import Removal
from data_prep.steps.filter_shard import DIGESTS
from data_prep.work.workers import Pool

NAME = "exact"
_RECORD = np.dtype([("digest", "<u8", (2,)), ("position", "<i8")])
"""A document's digest, and where it stands in the corpus."""
_COPY = np.dtype([("position", "<i8"), ("kept", "<i8")])
"""Where a copy stands, and where the first of its kind does."""
_FOUND = ".found"
_AT_ONCE = 1 << 20


class ExactCopies:
    """Drops all but the first of every group of documents of the same words."""

    name = NAME
    heading = "exact copies"

    def __init__(self) -> None:
        self.options: Mapping[str, object] = {}

    def find(self, shards: Sequence[Path], dropped: Sequence[Drops], work: Path, workers: Pool, into: Path) -> int:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        counts = document_counts(shards)
        say_room(NAME, sum(counts), _RECORD.itemsize + _COPY.itemsize, work / NAME)
        return find_copies([shard / DIGESTS for shard in shards], counts, work / NAME, workers, into)


def find_copies(files: Sequence[Path], counts: Sequence[int], work: Path, workers: Pool, into: Path) -> int:
    """Find all but the first of every group of copies.

    Digests are put into files by their first bits, in one pass, and those of each file are compared.

    Args:
        files: the digests of each unit's documents, in order; [documents] x 16 bytes.
        counts: the documents of each unit.
        work: where those files are written; it is gone when this returns.
        into: as `data_prep.across.corpus_step.CorpusStep.find` has it.

    Returns:
        How many documents are dropped.

    Raises:
        UserError: a file that cannot be read or written.
    """
    offsets, partitions = offsets_of(counts), partitions_for(sum(counts))
    with explained(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    for _ in workers.run(_distribute, [(tuple(files), offsets, work, partitions)]):
        pass
    for _ in workers.run(_compare, [(partition_file(work, number),) for number in range(partitions)]):
        pass
    calls = [(work, partitions, offsets, group, into) for group in unit_groups(counts)]
    found = sum(dropped for _, dropped in workers.run(_write, calls))
    shutil.rmtree(work, ignore_errors=True)
    return found


def _distribute(files: Sequence[Path], offsets: NDArray[np.int64], work: Path, partitions: int) -> None:
    with Partitions(work, _RECORD) as into:
        for path, begin in zip(files, offsets, strict=False):
            with explained(path):
                digests = np.fromfile(path, "<u8").reshape(-1, 2)
            records = np.empty(len(digests), _RECORD)
            records["digest"] = digests
            records["position"] = np.arange(begin, begin + len(digests))
            into.add(records, (digests[:, 0] >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32))


def _compare(path: Path) -> None:
    """Write the copies of a file beside it, ascending. Memory: the digests that differ, and a piece of all."""
    if not path.exists():
        return
    known = np.empty(0, _RECORD)
    with explained(path), path.with_suffix(_FOUND).open("wb") as file:
        for piece in pieces_of(path, _RECORD, _AT_ONCE):
            both = np.concatenate([known, piece])
            order = np.lexsort((both["position"], both["digest"][:, 0], both["digest"][:, 1]))
            ordered = both[order]
            first = np.ones(len(ordered), bool)
            first[1:] = (ordered["digest"][1:] != ordered["digest"][:-1]).any(axis=1)
            group = np.cumsum(first) - 1
            known = ordered[first]
            copies = np.empty(len(ordered) - len(known), _COPY)
            copies["position"] = ordered["position"][~first]
            copies["kept"] = known["position"][group[~first]]
            copies.sort(order="position")
            file.write(copies.data)
    path.unlink()


def _write(work: Path, partitions: int, offsets: NDArray[np.int64], units: range, into: Path) -> int:
    """Write what is dropped of some units."""
    begin, end = offsets[units.start], offsets[units.stop]
    files = (partition_file(work, number).with_suffix(_FOUND) for number in range(partitions))
    copies = np.concatenate([between(file, _COPY, begin, end) for file in files])
    copies.sort(order="position")
    cuts = np.searchsorted(copies["position"], offsets[units.start : units.stop + 1])
    return sum(
        write_drops(into, unit, _removals(copies[cuts[number] : cuts[number + 1]], unit, offsets))
        for number, unit in enumerate(units)
    )


def _removals(copies: NDArray[Any], unit: int, offsets: NDArray[np.int64]) -> Iterator[Dropped]:
    owners = np.searchsorted(offsets, copies["kept"], side="right") - 1
    indices = copies["position"] - offsets[unit]
    kept = copies["kept"] - offsets[owners]
    for index, owner, original in zip(indices.tolist(), owners.tolist(), kept.tolist(), strict=True):
        yield index, Removal(NAME, "a copy of another document", f"unit {owner}, document {original} is the same")
