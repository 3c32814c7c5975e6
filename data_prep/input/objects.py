"""Records with all their fields out of a segment: lines, elements of an array, or rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from data_prep.input.documents import Damage, Rejection
from data_prep.input.formats import format_of
from data_prep.input.json_array import read_array
from data_prep.input.json_file import is_array
from data_prep.input.json_lines import WholeRecord, read_lines_of_objects
from data_prep.input.parquet import read_rows
from data_prep.input.units import Segment

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

Found = WholeRecord | Rejection | Damage


def read_objects(segment: Segment, columns: Collection[str]) -> Iterator[Found]:
    """Stream a segment's records in order, as far as they can be read.

    Memory does not grow with the file.

    Args:
        segment: of a file of JSON lines, of one JSON array, or of Parquet.
        columns: of Parquet, those to read; others are left out, and so are those that are not there.

    Yields:
        A record with its line, its number in the array, or its row, from 1 at the start of the segment; a rejection of
        what is no record; and where the file, or a part of it, cannot be read, why that is.
    """
    kind = format_of(segment.file.path)
    assert kind is not None and kind.layout != "text"
    if kind.layout == "parquet":
        yield from read_rows(segment, lambda file: _present(file, columns), _records)
    elif segment.is_whole and is_array(segment):
        yield from read_array(segment.file.path)
    else:
        empty = segment.is_whole
        for found in read_lines_of_objects(segment):
            empty = empty and isinstance(found, Damage) and not found.is_lost
            yield found
        if empty:
            yield Rejection("the file is empty", 1)


def _present(file: ParquetFile, columns: Collection[str]) -> list[str]:
    names = file.schema_arrow.names
    return [name for name in names if name in columns and names.count(name) == 1]


def _records(batch: RecordBatch, columns: Sequence[str], number: int) -> Iterator[WholeRecord | Rejection]:
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [None] * batch.num_rows
    for index, row in enumerate(rows):
        number += 1
        try:
            yield WholeRecord(number, batch.slice(index, 1).to_pylist()[0] if row is None else row)
        except UnicodeDecodeError as error:
            yield Rejection(f"invalid UTF-8 at byte {error.start} of a text", number)
