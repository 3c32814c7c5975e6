"""Texts that several sources hold: in all of them they go where the first source puts them.

A document's stage follows from its text and from what the stages want of its source. So a text that two sources hold
could be trained on in two stages. Found over files, whose memory does not grow with the corpus.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained, whole_stream
from data_prep.across.partitions import Partitions, between, partition_file, partitions_for, pieces_of
from data_prep.across.positions import offsets_of, unit_groups
from data_prep.across.room import say_room
from data_prep.tokenize.assignment import Assignment, Destination
from data_prep.tokenize.tokenize_shard import DOCUMENT_DTYPE, TEXT_DTYPE, TEXTS
from data_prep.work.workers import Pool

NAME = "shared"
MOVED_DTYPE = np.dtype([("position", "<i8"), ("destination", "<u2")])
"""A document that goes elsewhere: where it stands in the corpus (of a unit: in its shard), and to where it goes."""

_RECORD = np.dtype([("digest", "<u8", (2,)), ("position", "<i8"), ("source", "<u2"), ("destination", "<u2")])
_KNOWN = np.dtype([("digest", "<u8", (2,)), ("first", "<u2"), ("last", "<u2")])
"""A text, and the first and the last source that holds it."""
_FOUND = ".found"
_AT_ONCE = 1 << 20
_CHANGE = 0.01


@dataclass(frozen=True)
class SharedTexts:
    """What was found."""

    texts: int
    """Different texts that several sources hold."""
    moved: Mapping[Path, Path]
    """For a shard some of whose documents go elsewhere, a file of `MOVED_DTYPE`, ascending."""


def find_shared(shards: Sequence[Path], assignment: Assignment, work: Path, workers: Pool) -> SharedTexts:
    """Find the texts of several sources, and where those documents go that another source decides about.

    Args:
        shards: folders that `data_prep.tokenize.tokenize_shard.tokenize_shard` has published, of several sources.
        work: where files are written.

    Raises:
        UserError: a file that cannot be read or written.
    """
    counts = [(shard / "documents.bin").stat().st_size // DOCUMENT_DTYPE.itemsize for shard in shards]
    offsets, partitions = offsets_of(counts), partitions_for(sum(counts))
    say_room(NAME, sum(counts), _RECORD.itemsize, work)
    with explained(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    list(workers.run(_distribute, [(tuple(shards), offsets, work, partitions)]))
    compared = workers.run(_compare, [(partition_file(work, number), assignment) for number in range(partitions)])
    texts = sum(found for _, found in compared)
    moved: dict[Path, Path] = {}
    for units in unit_groups(counts):
        moved |= _write(work, partitions, offsets, units, shards)
    for number in range(partitions):
        partition_file(work, number).with_suffix(_FOUND).unlink(missing_ok=True)
    return SharedTexts(texts, moved)


def _distribute(shards: Sequence[Path], offsets: NDArray[np.int64], work: Path, partitions: int) -> None:
    with Partitions(work, _RECORD) as into:
        for shard, begin in zip(shards, offsets, strict=False):
            with explained(shard):
                texts = np.fromfile(shard / TEXTS, TEXT_DTYPE)
                documents = np.fromfile(shard / "documents.bin", DOCUMENT_DTYPE)
            records = np.empty(len(texts), _RECORD)
            records["digest"], records["source"] = texts["digest"], texts["source"]
            records["destination"] = documents["destination"]
            records["position"] = np.arange(begin, begin + len(texts))
            # By the second half: the first says which split, and most are of one.
            into.add(records, (texts["digest"][:, 1] & np.uint64(0xFFFFFFFF)) * np.uint64(partitions) >> np.uint64(32))


def _compare(path: Path, assignment: Assignment) -> int:
    """Write beside a file of records which of them go elsewhere; returns how many of its texts are in several sources.

    Memory: the texts that differ, and a piece of all.
    """
    if not path.exists():
        return 0
    known = np.empty(0, _KNOWN)
    for piece in pieces_of(path, _RECORD, _AT_ONCE):
        new = np.empty(len(piece), _KNOWN)
        new["digest"], new["first"], new["last"] = piece["digest"], piece["source"], piece["source"]
        known = _joined(np.concatenate([known, new]))
    with explained(path), path.with_suffix(_FOUND).open("wb") as file:
        for piece in pieces_of(path, _RECORD, _AT_ONCE):
            first = known["first"][_find(known["digest"], piece["digest"])]
            others = piece["source"] != first
            file.write(_moves(piece[others], first[others], assignment).data)
    path.unlink()
    return int(np.count_nonzero(known["first"] != known["last"]))


def _joined(known: NDArray[Any]) -> NDArray[Any]:
    """Return one entry for each digest, with the first and last source of all."""
    order = np.lexsort((known["digest"][:, 0], known["digest"][:, 1]))
    known = known[order]
    begins = np.ones(len(known), bool)
    begins[1:] = (known["digest"][1:] != known["digest"][:-1]).any(axis=1)
    starts = np.flatnonzero(begins)
    joined = known[starts]
    if len(starts):
        joined["first"] = np.minimum.reduceat(known["first"], starts)
        joined["last"] = np.maximum.reduceat(known["last"], starts)
    return joined


def _find(known: NDArray[np.uint64], digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where each digest stands among those that are known: all of them, in the order of `_joined`."""
    both = np.concatenate([known, digests])
    order = np.lexsort((np.arange(len(both)), both[:, 0], both[:, 1]))
    found = np.empty(len(both), np.int64)
    found[order] = np.cumsum(order < len(known)) - 1
    return found[len(known) :]


def _moves(records: NDArray[Any], first: NDArray[np.uint16], assignment: Assignment) -> NDArray[Any]:
    moved = np.empty(len(records), MOVED_DTYPE)
    moved["position"] = records["position"]
    moved["destination"] = [
        assignment.moved(int(record["destination"]), (int(record["digest"][0]), int(record["digest"][1])), int(source))
        for record, source in zip(records, first, strict=True)
    ]
    return moved[moved["destination"] != records["destination"]]


def _write(
    work: Path, partitions: int, offsets: NDArray[np.int64], units: range, shards: Sequence[Path]
) -> dict[Path, Path]:
    """Write what is moved of some units."""
    begin, end = offsets[units.start], offsets[units.stop]
    paths = (partition_file(work, number).with_suffix(_FOUND) for number in range(partitions))
    found = [between(path, MOVED_DTYPE, begin, end) for path in paths]
    moved = np.sort(np.concatenate([np.empty(0, MOVED_DTYPE), *found]), order="position")
    files = {}
    for unit in units:
        first, last = np.searchsorted(moved["position"], offsets[unit : unit + 2])
        if first < last:
            of_unit = moved[first:last]
            of_unit["position"] -= offsets[unit]
            path = work / f"{shards[unit].name}.moved"
            with whole_stream(path) as file:
                file.write(of_unit.tobytes())
            files[shards[unit]] = path
    return files


def moved_tokens(shared: SharedTexts, destinations: int) -> NDArray[np.int64]:
    """Return by how many tokens each destination grows: [destinations]."""
    change = np.zeros(destinations, np.int64)
    for shard, path in shared.moved.items():
        documents = np.fromfile(shard / "documents.bin", DOCUMENT_DTYPE)
        moves = np.fromfile(path, MOVED_DTYPE)
        old = documents[moves["position"]]
        np.add.at(change, moves["destination"], old["length"])
        np.subtract.at(change, old["destination"], old["length"])
    return change


def share_lines(
    shared: SharedTexts, destinations: Sequence[Destination], tokens: Mapping[Destination, int]
) -> Iterator[str]:
    """Say which shares of a stage's training tokens are other than they were by more than 1%.

    Args:
        tokens: of each destination, with what was moved there.
    """
    change = dict(zip(destinations, moved_tokens(shared, len(destinations)).tolist(), strict=True))
    for stage in dict.fromkeys(stage for stage, _, _ in destinations):
        ours = [place for place in destinations if place[0] == stage and place[2] != "validation"]
        now, before = Counter[str](), Counter[str]()
        for place in ours:
            now[place[1]] += tokens.get(place, 0)
            before[place[1]] += tokens.get(place, 0) - change[place]
        for source in now:
            was, is_now = (each[source] / max(sum(each.values()), 1) for each in (before, now))
            if abs(is_now - was) > _CHANGE * was:
                yield (
                    f"{stage}: texts that several sources hold make {source} {is_now:.2%} of its tokens instead of "
                    f"{was:.2%}"
                )


def placed_documents(shard: Path, moved: Path | None) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
    """Read where the documents of a shard go.

    Args:
        moved: of `SharedTexts.moved`.

    Returns:
        [documents] of `DOCUMENT_DTYPE`, as they stand in the shard; and where some are moved the order in which they
        are to be read: by destination, and in each as in the input. None: as they stand.
    """
    documents = np.fromfile(shard / "documents.bin", DOCUMENT_DTYPE)
    if moved is None:
        return documents, None
    changes = np.fromfile(moved, MOVED_DTYPE)
    documents["destination"][changes["position"]] = changes["destination"]
    texts = np.fromfile(shard / TEXTS, TEXT_DTYPE)
    return documents, np.lexsort((texts["order"], documents["destination"]))
