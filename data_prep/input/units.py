"""Pieces of work: stretches of a big file, or several small files, of about ``data.shard_bytes`` of input each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from data_prep.input.input_files import InputFile, format_of

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

    @property
    def is_whole(self) -> bool:
        return self.bytes == self.file.bytes


Unit = tuple[Segment, ...]


def split_units(files: Sequence[InputFile], shard_bytes: int) -> list[Unit]:
    """Cut the files, in their order, into units.

    The cut depends on the files and ``shard_bytes`` alone, so that a second run finds the same units. A corpus
    of a few units is cut finer, so that every worker has some.
    """
    total = sum(file.bytes for file in files)
    unit_bytes = min(shard_bytes, max(_SMALLEST_UNIT, total // _UNITS_OF_A_SMALL_CORPUS))
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
    if kind == "jsonl" and file.bytes > unit_bytes:
        for start in range(0, file.bytes, unit_bytes):
            stop = min(start + unit_bytes, file.bytes)
            yield Segment(file, start, stop, stop - start)
    elif kind == "parquet" and file.bytes > unit_bytes:
        yield from _row_groups(file, unit_bytes)
    else:
        yield Segment(file, 0, file.bytes, file.bytes)


def _row_groups(file: InputFile, unit_bytes: int) -> Iterator[Segment]:
    import pyarrow
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(file.path)
    except pyarrow.ArrowException:
        yield Segment(file, 0, file.bytes, file.bytes)  # its reader says what is wrong with it
        return
    ends = list(accumulate(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)))
    ends = [end * file.bytes // max(ends[-1], 1) for end in ends]
    start, begin = 0, 0
    for group, end in enumerate(ends, start=1):
        if end - begin >= unit_bytes or group == len(ends):
            yield Segment(file, start, group, end - begin)
            start, begin = group, end
