"""Parquet: a row is a document."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from custom_modules.errors import UserError
from custom_modules.text import spelled
from data_prep.input.content import what_it_is
from data_prep.input.damage import EMPTY, head_of, said, unreadable
from data_prep.input.documents import Damage, Document, Rejection, document_of

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch
    from pyarrow.parquet import ParquetFile

    from data_prep.input.input_files import InputFile
    from data_prep.input.units import Segment

_ROWS = 256
_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_SMALLEST = 12
"""Bytes of a file with nothing between its two magic numbers but the length of its footer."""


class DamagedError(Exception):
    """A file that is no whole Parquet file.

    Args:
        damage: what it is instead.
    """

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.reason)
        self.damage = damage


class Numbered(Protocol):
    """What is made of a row."""

    @property
    def line(self) -> int:
        """The row's number, from 1 at the start of its segment."""
        ...


Row = TypeVar("Row", bound=Numbered)
Columns = Callable[["ParquetFile"], Sequence[str]]
"""Says which columns of a file are to be read."""
Rows = Callable[["RecordBatch", Sequence[str], int], Iterator[Row]]
"""Makes something of each row of a batch, of its columns, and of the number of the row before it."""


def read_parquet(segment: Segment, text_key: str, url_key: str | None) -> Iterator[Document | Rejection | Damage]:
    """Stream the documents of a segment's row groups: see `data_prep.input.readers.read_segment`.

    Raises:
        UserError: see `check_columns`.
    """
    return read_rows(segment, lambda file: check_columns(file, segment.file.path, text_key, url_key), _rows)


def read_rows(segment: Segment, columns_of: Columns, make: Rows[Row]) -> Iterator[Row | Damage]:
    """Stream what is made of the rows of a segment's row groups.

    A damaged row group costs what it has behind the damage; the next one is read.

    Raises:
        UserError: what ``columns_of`` raises.
    """
    import pyarrow

    number = 0
    try:
        with open_parquet(segment.file.path) as file:
            columns = columns_of(file)
            try:
                for batch in file.iter_batches(_ROWS, _groups(file, segment), columns=columns, use_threads=False):
                    for record in make(batch, columns, number):
                        number = record.line
                        yield record
            except (pyarrow.ArrowException, OSError):
                yield from _read_by_group(file, segment, columns, make, number)
    except DamagedError as error:
        yield error.damage


def _read_by_group(
    file: ParquetFile, segment: Segment, columns: Sequence[str], make: Rows[Row], given: int
) -> Iterator[Row | Damage]:
    """What follows the first ``given`` rows of a segment with damaged row groups."""
    import pyarrow

    last = 0
    for group in _groups(file, segment):
        number, last = last, last + file.metadata.row_group(group).num_rows
        if last <= given:
            continue
        try:
            for batch in file.iter_batches(_ROWS, [group], columns=columns, use_threads=False):
                for record in make(batch, columns, number):
                    number = record.line
                    if number > given:
                        yield record
        except (pyarrow.ArrowException, OSError) as error:
            lost = last - max(number, given)
            yield Damage(f"row group {group + 1} cannot be read on, its last {lost:,} rows are lost ({said(error)})")


def read_whole_rows(segment: Segment, text_key: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Stream a segment's rows with their numbers. Of a row with a field that is no UTF-8 the record is empty."""
    import pyarrow

    try:
        with open_parquet(segment.file.path) as file:
            last = 0
            for group in _groups(file, segment):
                number, last = last, last + file.metadata.row_group(group).num_rows
                try:
                    for batch in file.iter_batches(_ROWS, [group], use_threads=False):
                        for row in range(batch.num_rows):
                            number += 1
                            yield number, _whole_row(batch, row, text_key)
                except (pyarrow.ArrowException, OSError):
                    continue  # `read_parquet` has said so
    except DamagedError:
        return


def _whole_row(batch: RecordBatch, row: int, text_key: str) -> dict[str, object]:
    try:
        fields: dict[str, object] = batch.slice(row, 1).to_pylist()[0]
        text = fields.get(text_key)
        return {**fields, text_key: text.decode()} if isinstance(text, bytes) else fields
    except UnicodeDecodeError:
        return {}


@contextmanager
def open_parquet(path: str) -> Iterator[ParquetFile]:
    """Open a file whose name may be no UTF-8.

    Raises:
        DamagedError: it cannot be read, or is no Parquet file, or not a whole one.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        source = pyarrow.OSFile(os.fsencode(path))
    except OSError as error:
        raise DamagedError(unreadable(path, error)) from error
    with source:
        try:
            file = parquet.ParquetFile(source)
            _ = file.schema_arrow
        except (pyarrow.ArrowException, OSError) as error:
            raise DamagedError(_no_parquet(path, error)) from error
        yield file


def _no_parquet(path: str, error: Exception) -> Damage:
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(path, error)
    try:
        head = head_of(path)
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(-min(size, len(_MAGIC)), os.SEEK_END)
            tail = file.read()
    except OSError as failure:
        return unreadable(path, failure)
    if not head:
        return Damage(EMPTY)
    if _ENCRYPTED in (head[: len(_MAGIC)], tail):
        return Damage("it is an encrypted Parquet file, and there is no key to read it with")
    if not head.startswith(_MAGIC):
        return Damage(f"it is {what_it_is(head) or 'no Parquet file'}")
    if tail != _MAGIC or size < _SMALLEST:
        return Damage("cut short: it has no Parquet footer at its end")
    return Damage(f"its Parquet footer is damaged ({said(error)})")


def row_group_ends(file: InputFile) -> list[int]:
    """Where each row group ends, in bytes of the file that are in proportion to what it says it holds.

    Groups that say nothing, all together, count by their rows. None of a file that cannot be opened: its reader says
    what is wrong with it.
    """
    try:
        with open_parquet(file.path) as opened:
            groups = [opened.metadata.row_group(group) for group in range(opened.metadata.num_row_groups)]
            sizes = [max(group.total_byte_size, 0) for group in groups]
            ends = list(accumulate(sizes if any(sizes) else [max(group.num_rows, 0) for group in groups]))
    except DamagedError:
        return []
    return [end * file.bytes // max(ends[-1], 1) for end in ends]


def rows_before(path: str, groups: Sequence[int]) -> list[int]:
    """Rows before each of some row groups; 0 in a file that cannot be opened."""
    try:
        with open_parquet(path) as file:
            rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    except DamagedError:
        rows = []
    return [sum(rows[:group]) for group in groups]


def check_columns(file: ParquetFile, path: str, text_key: str, url_key: str | None) -> list[str]:
    """Return the columns to read.

    Raises:
        UserError: no text column, one that holds no text, or two of one name.
    """
    names, where = file.schema_arrow.names, spelled(path)
    for key, column in (("data.text_key", text_key), ("data.url_key", url_key)):
        if (number := names.count(column)) > 1:
            raise UserError(f"{key}={column}: {where} has {number} columns of that name; rename all but one")
    if text_key not in names:
        raise UserError(f"data.text_key={text_key}: no such column in {where}; it has {names}")
    kind = file.schema_arrow.field(text_key).type
    if not _is_text(kind):
        raise UserError(f"data.text_key={text_key}: {where} holds {kind} there, not strings")
    return [text_key, *({url_key} & set(names) - {text_key})] if url_key else [text_key]


def _is_text(kind: DataType) -> bool:
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
        types.is_fixed_size_binary,
        types.is_null,
    )
    return any(test(kind) for test in tests)


def _groups(file: ParquetFile, segment: Segment) -> list[int]:
    return list(range(file.num_row_groups) if segment.is_whole else range(segment.start, segment.stop))


def _rows(batch: RecordBatch, columns: Sequence[str], number: int) -> Iterator[Document | Rejection]:
    text_key = columns[0]
    urls = batch.column(columns[1]) if len(columns) > 1 else None
    for row, scalar in enumerate(batch.column(text_key)):
        number += 1
        try:
            yield document_of(scalar.as_py(), urls[row].as_py() if urls is not None else None, text_key, number)
        except UnicodeDecodeError as error:
            yield Rejection(f"invalid UTF-8 at byte {error.start} of the text", number)
