"""A unit's records through their set's reader, counted; and the first pass: what tells copies and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from custom_modules.file_writer import FileWriter
from custom_modules.files import whole_folder
from data_prep.conversations.messages import UnreadableError
from data_prep.conversations.reader import Candidate, Dropped, Joined, Place, Placed, Reader, Refused
from data_prep.conversations.sets import READERS
from data_prep.input.documents import Damage, Rejection, Removal
from data_prep.input.objects import read_objects
from data_prep.input.units import Unit
from data_prep.work.shard import OnError, SegmentCount, fatal, write_record

READING = "reading"
"""What stands for a step where records are dropped as they are read."""
_FORMAT = 1
_DIGESTS = "digests.bin"
_FIRSTS = "firsts.bin"


@dataclass
class RecordCount(SegmentCount):
    """What became of a segment's records: ``read = documents + joined + skipped + removed``."""

    joined: int = 0
    """Messages of a tree that are part of a conversation which is counted with another message."""
    cuts: dict[str, int] = field(default_factory=dict)
    """Of ``documents``, those that were too long, by what was cut."""

    def cut(self, kind: str) -> None:
        self.cuts[kind] = self.cuts.get(kind, 0) + 1

    @property
    def balance(self) -> int:
        """Records that nobody accounts for."""
        return super().balance - self.joined


@dataclass(frozen=True)
class ReadOptions:
    """All that defines what is read of a unit."""

    reader: str
    on_error: OnError

    def key(self, unit: Unit) -> str:
        """The name of a unit's folder."""
        defining = [_FORMAT, self.reader, self.on_error, [segment.identity for segment in unit]]
        return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


def read_candidates(
    unit: Unit, counts: Sequence[RecordCount], reader: Reader, on_error: OnError
) -> Iterator[Candidate | Dropped]:
    """Yield what may be learnt from, and what is dropped; all records are counted but the candidates.

    Raises:
        UserError: a record that cannot be read where ``on_error`` is ``raise``.
    """
    for outcome in reader.outcomes(_placed(unit, counts, reader, on_error)):
        count = counts[outcome.place.segment]
        if isinstance(outcome, Refused):
            _reject(unit, counts, outcome.place.segment, Rejection(outcome.reason, outcome.place.line), on_error)
        elif isinstance(outcome, Joined):
            count.joined += 1
        else:
            if isinstance(outcome, Dropped):
                count.remove(Removal(READING, outcome.reason, outcome.detail))
            yield outcome


def _placed(unit: Unit, counts: Sequence[RecordCount], reader: Reader, on_error: OnError) -> Iterator[Placed]:
    for number, (segment, count) in enumerate(zip(unit, counts, strict=True)):
        for found in read_objects(segment, reader.columns):
            if isinstance(found, Damage):
                count.note(found)
                continue
            try:
                records = () if isinstance(found, Rejection) else reader.records(found.fields)
            except UnreadableError as fault:
                found = Rejection(str(fault), found.line)
            if isinstance(found, Rejection):
                count.read += 1
                _reject(unit, counts, number, found, on_error)
                continue
            for record in records:
                count.read += 1
                yield Place(number, found.line), record


def _reject(unit: Unit, counts: Sequence[RecordCount], segment: int, rejection: Rejection, on_error: OnError) -> None:
    if on_error == "raise":
        raise fatal(unit[segment], rejection)
    counts[segment].reject(rejection)


def read_unit(folder: Path, key: str, unit: Unit, options: ReadOptions) -> list[RecordCount]:
    """Read a unit, and publish ``folder/key`` with the digests of its candidates, which count as documents.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, or a file that cannot be written.
    """
    counts = [RecordCount() for _ in unit]
    with whole_folder(folder / key, replace=True) as aside:
        digests, firsts = FileWriter(aside / _DIGESTS), FileWriter(aside / _FIRSTS)
        for outcome in read_candidates(unit, counts, READERS[options.reader], options.on_error):
            if isinstance(outcome, Candidate):
                counts[outcome.place.segment].documents += 1
                digests.write(outcome.item.digest)
                firsts.write(outcome.item.first)
        digests.finish()
        firsts.finish()
        write_record(aside, counts)
    return counts


def read_digests(folder: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return [candidates, 2] uint64 that equal candidates have in common, and [candidates] of their first questions."""
    return np.fromfile(folder / _DIGESTS, "<u8").reshape(-1, 2), np.fromfile(folder / _FIRSTS, "<u8")
