"""Documents out of a segment, one at a time, whatever the file's format."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Rejection
from data_prep.input.input_files import format_of
from data_prep.input.units import Segment

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

_BUFFER = 1 << 20
_PARQUET_ROWS = 256
_LONGEST_LINE = 1 << 29
_BOM = b"\xef\xbb\xbf"
_EMPTY = "the text is empty"  # the format has no document without tokens, and white space alone teaches nothing


def read_segment(segment: Segment, text_key: str, url_key: str | None = None) -> Iterator[Document | Rejection]:
    """Stream a segment's records in order.

    Memory does not grow with the file, but for plain text: there a file is one document.

    Args:
        segment: what to read.
        text_key: the field of a JSON line, or the column of a Parquet file, that holds the text.
        url_key: the one that may say where it was found; None: not asked for.

    Yields:
        A document, or a rejection of a record that cannot be one.

    Raises:
        UserError: a Parquet file without a text column of that name.
        OSError: the file cannot be read.
    """
    kind = format_of(segment.file.path)
    if kind == "parquet":
        records = _read_parquet(segment, text_key, url_key)
    elif kind == "txt":
        records = _read_text(segment)
    else:
        records = _read_json_lines(segment, text_key, url_key)
    empty = segment.is_whole
    for record in records:
        empty = False
        yield record
    if empty:
        yield Rejection("the file is empty", 1)


def read_whole_records(segment: Segment, text_key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream a segment's records with all their fields, each with the line that `read_segment` gives its document.

    Records that are no documents are left out or given, as it comes. Of a row with a field that is no UTF-8 the
    record is empty.
    """
    kind = format_of(segment.file.path)
    if kind == "parquet":
        yield from _whole_rows(segment)
    elif kind == "txt":
        yield from (
            (record.line, {text_key: record.text}) for record in _read_text(segment) if isinstance(record, Document)
        )
    else:
        yield from _whole_lines(segment)


def _whole_lines(segment: Segment) -> Iterator[tuple[int, dict[str, Any]]]:
    with suppress(OSError):  # a damaged file: `read_segment` has said so
        for number, line in enumerate(_lines(segment), start=1):
            if number == 1 and segment.start == 0 and line is not None:
                line = line.removeprefix(_BOM)
            with suppress(orjson.JSONDecodeError):
                record = orjson.loads(line or b"")
                if isinstance(record, dict):
                    yield number, record


def _whole_rows(segment: Segment) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    with suppress(pyarrow.ArrowException, OSError), parquet.ParquetFile(segment.file.path) as file:
        groups = range(file.num_row_groups) if segment.is_whole else range(segment.start, segment.stop)
        for batch in file.iter_batches(_PARQUET_ROWS, list(groups), use_threads=False):
            for row in range(batch.num_rows):
                number += 1
                try:
                    yield number, batch.slice(row, 1).to_pylist()[0]
                except UnicodeDecodeError:
                    yield number, {}


def lines_before(path: str, starts: Sequence[int]) -> list[int]:
    """Lines that begin, or Parquet rows, before each segment of a file, in one pass over what precedes the last.

    Args:
        path: the file.
        starts: where its segments start, ascending.
    """
    if format_of(path) == "parquet":
        from pyarrow import parquet

        metadata = parquet.read_metadata(path)
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return [sum(rows[:start]) for start in starts]
    counts = []
    newlines = position = 0
    inside = False
    with Path(path).open("rb") as file:
        for start in starts:
            while position < start and (block := file.read(min(start - position, _BUFFER))):
                newlines += block.count(b"\n")
                position += len(block)
                inside = not block.endswith(b"\n")
            counts.append(newlines + inside)
    return counts


def _read_json_lines(segment: Segment, text_key: str, url_key: str | None) -> Iterator[Document | Rejection]:
    number = 0
    lines = _lines(segment)
    while True:
        number += 1
        try:
            line = next(lines)
        except StopIteration:
            return
        except OSError as error:
            if error.errno is not None:
                raise
            yield Rejection(f"damaged file, the rest of it is lost ({error})", number)
            return
        if line is None:
            yield Rejection(f"a line of more than {_LONGEST_LINE:,} bytes", number)
            continue
        if number == 1 and segment.start == 0:
            line = line.removeprefix(_BOM)
        if not line.isspace():
            yield _parse(line, text_key, url_key, number)


def _lines(segment: Segment) -> Iterator[bytes | None]:
    """Lines whose first byte is in the segment; another segment's reader has the one that reaches into it.

    None stands for a line that is too long: it is read through, and never held.
    """
    if format_of(segment.file.path) != "jsonl":
        with _decompressed(segment) as stream:
            while (line := _next_line(stream)) != b"":
                yield line
        return
    with Path(segment.file.path).open("rb", buffering=_BUFFER) as file:
        if segment.start:
            file.seek(segment.start - 1)
            _next_line(file)
        while file.tell() < segment.stop and (line := _next_line(file)) != b"":
            yield line


def _next_line(stream: BinaryIO) -> bytes | None:
    line = stream.readline(_LONGEST_LINE)
    if len(line) < _LONGEST_LINE or line.endswith(b"\n"):
        return line
    while (rest := stream.readline(_BUFFER)) and not rest.endswith(b"\n"):
        pass
    return None


def _decompressed(segment: Segment) -> BinaryIO:
    """Pyarrow's stream reads all members and frames of a file and, unlike zstandard's, notices one cut short."""
    import pyarrow

    codec = "gzip" if format_of(segment.file.path) == "jsonl.gz" else "zstd"
    stream: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(segment.file.path), codec)
    return io.BufferedReader(stream, _BUFFER)


def _parse(line: bytes, text_key: str, url_key: str | None, number: int) -> Document | Rejection:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode()
        except UnicodeDecodeError as undecodable:
            return Rejection(f"invalid UTF-8 at byte {undecodable.start} of the line", number)
        return Rejection(f"invalid JSON ({error.msg})", number)
    if not isinstance(record, dict):
        return Rejection("not a JSON object", number)
    if text_key not in record:
        return Rejection(f"no key {text_key!r}", number)
    return _document(record[text_key], record.get(url_key), text_key, number)


def _document(text: object, url: object, text_key: str, number: int) -> Document | Rejection:
    if isinstance(text, str):
        if text.strip():
            return Document(text, number, url if isinstance(url, str) else None)
        return Rejection(_EMPTY, number)
    return Rejection(f"{text_key!r} is {'null' if text is None else type(text).__name__}, not a string", number)


def _read_text(segment: Segment) -> Iterator[Document | Rejection]:
    content = Path(segment.file.path).read_bytes().removeprefix(_BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        yield Rejection(f"invalid UTF-8 at byte {error.start} of the file", content.count(b"\n", 0, error.start) + 1)
        return
    if text:
        yield Document(text, 1) if text.strip() else Rejection(_EMPTY, 1)


def _read_parquet(segment: Segment, text_key: str, url_key: str | None) -> Iterator[Document | Rejection]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    if not segment.file.bytes:
        return
    try:
        with parquet.ParquetFile(segment.file.path) as file:
            _check_column(file, text_key, segment)
            groups = range(file.num_row_groups) if segment.is_whole else range(segment.start, segment.stop)
            columns = [text_key, *({url_key} & set(file.schema_arrow.names) - {text_key})]
            for batch in file.iter_batches(_PARQUET_ROWS, list(groups), columns=columns, use_threads=False):
                for record in _rows(batch, text_key, url_key, number):
                    number = record.line
                    yield record
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        yield Rejection(f"damaged file, the rest of it is lost ({' '.join(str(error).split())})", number + 1)


def _rows(batch: RecordBatch, text_key: str, url_key: str | None, number: int) -> Iterator[Document | Rejection]:
    urls = batch.column(url_key) if url_key in batch.schema.names else None
    for row, scalar in enumerate(batch.column(text_key)):
        number += 1
        try:
            yield _document(scalar.as_py(), urls[row].as_py() if urls is not None else None, text_key, number)
        except UnicodeDecodeError as error:
            yield Rejection(f"invalid UTF-8 at byte {error.start} of the text", number)


def _check_column(file: ParquetFile, text_key: str, segment: Segment) -> None:
    import pyarrow

    schema = file.schema_arrow
    if text_key not in schema.names:
        raise UserError(f"data.text_key={text_key}: no such column in {segment.file.path}; it has {schema.names}")
    kind = schema.field(text_key).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if kind not in (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()):
        raise UserError(f"data.text_key={text_key}: {segment.file.path} holds {kind} there, not strings")
