"""Pieces of work: stretches of a big file, or several small files, of about ``data.shard_bytes`` of input each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from data_prep.input.formats import format_of
from data_prep.input.parquet import row_group_ends

if TYPE_CHECKING:
    from data_prep.input.input_files import InputFile

_SMALLEST_UNIT = 250_000
_UNITS_OF_A_SMALL_CORPUS = 16


@dataclass(frozen=True)
class Segment:
    """A stretch of one file: bytes of JSON lines, row groups of Parquet, else the whole file."""

    file: InputFile
    start: int
    stop: int
    bytes: int
    """The part of the file's bytes that it stands for, for balance and progress."""

    @classmethod
    def whole(cls, file: InputFile) -> Segment:
        """Return all of a file as one segment."""
        return cls(file, 0, file.bytes, file.bytes)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file, whatever the format; a file has fewer row groups than bytes."""
        return self.start == 0 and self.stop == self.file.bytes

    @property
    def identity(self) -> dict[str, Any]:
        """Return plain values that differ when the segment or its file does."""
        return {**asdict(self), "file": self.file.identity}


Unit = tuple[Segment, ...]


def split_units(files: Sequence[InputFile], shard_bytes: int) -> list[Unit]:
    """Cut the files, in their order, into units.

    The cut depends on the files and ``shard_bytes`` alone, so that a second run finds the same units. A corpus
    of a few units is cut finer, so that every worker has some; by a power of two, so that a file that is mended, and
    longer for it, leaves the units of other files as they are.
    """
    total = sum(file.bytes for file in files)
    finer = 1 << max((total // _UNITS_OF_A_SMALL_CORPUS).bit_length() - 1, 0)
    unit_bytes = min(shard_bytes, max(_SMALLEST_UNIT, finer))
    units: list[Unit] = []
    pending: list[Segment] = []
    pending_bytes = 0
    for file in files:
        for segment in _segments(file, unit_bytes):
            if pending and pending_bytes + segment.bytes > unit_bytes:
                units.append(tuple(pending))
                pending, pending_bytes = [], 0
            pending.append(segment)
            pending_bytes += segment.bytes
    if pending:
        units.append(tuple(pending))
    return units


def _segments(file: InputFile, unit_bytes: int) -> Iterator[Segment]:
    kind = format_of(file.path)
    if kind and file.bytes > unit_bytes:
        if kind.layout == "lines" and not kind.codec:
            for start in range(0, file.bytes, unit_bytes):
                stop = min(start + unit_bytes, file.bytes)
                yield Segment(file, start, stop, stop - start)
            return
        if kind.layout == "parquet" and (ends := row_group_ends(file)):
            yield from _row_groups(file, ends, unit_bytes)
            return
    yield Segment.whole(file)


def _row_groups(file: InputFile, ends: Sequence[int], unit_bytes: int) -> Iterator[Segment]:
    start, begin = 0, 0
    for group, end in enumerate(ends, start=1):
        if end - begin >= unit_bytes or group == len(ends):
            yield Segment(file, start, group, end - begin)
            start, begin = group, end
