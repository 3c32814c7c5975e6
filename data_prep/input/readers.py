"""Documents out of a segment, one at a time, whatever the file's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.input.documents import Damage, Document, Rejection
from data_prep.input.formats import format_of
from data_prep.input.json_lines import WholeRecord, read_json_lines, read_whole_lines
from data_prep.input.parquet import read_parquet, read_whole_rows, rows_before
from data_prep.input.plain_text import read_text
from data_prep.input.units import Segment

_BLOCK = 1 << 20


def read_segment(
    segment: Segment, text_key: str, url_key: str | None = None
) -> Iterator[Document | Rejection | Damage]:
    """Stream a segment's records in order, as far as they can be read.

    Memory does not grow with the file, but for plain text: there a file is one document.

    Args:
        segment: what to read.
        text_key: the field of a JSON line, or the column of a Parquet file, that holds the text.
        url_key: the one that may say where it was found; None: not asked for.

    Yields:
        A document, or a rejection of a record that cannot be one; and where the file, or a part of it, cannot be read,
        why that is.

    Raises:
        UserError: a Parquet file without a text column of that name, or with two.
    """
    layout = _layout(segment)
    if layout == "parquet":
        records = read_parquet(segment, text_key, url_key)
    elif layout == "text":
        records = read_text(segment)
    else:
        records = read_json_lines(segment, text_key, url_key)
    for record in records:
        yield record
        if not isinstance(record, Damage) or record.is_lost:
            break
    else:
        # A Parquet file without rows is whole, and an ordinary part of a data set; other files hold at least a line.
        if segment.is_whole and layout != "parquet":
            yield Rejection("the file is empty", 1)
    yield from records


def read_whole_records(segment: Segment, text_key: str) -> Iterator[WholeRecord]:
    """Stream a segment's records with all their fields, each with the line that `read_segment` gives its document.

    Records that are no documents are left out or given, as it comes. Of a row with a field that is no UTF-8 the
    record is empty.
    """
    layout = _layout(segment)
    if layout == "parquet":
        yield from (WholeRecord(*row) for row in read_whole_rows(segment, text_key))
    elif layout == "text":
        documents = (record for record in read_text(segment) if isinstance(record, Document))
        yield from (WholeRecord(document.line, {text_key: document.text}) for document in documents)
    else:
        yield from read_whole_lines(segment)


def _layout(segment: Segment) -> str:
    kind = format_of(segment.file.path)
    assert kind is not None
    return kind.layout


def lines_before(path: str, starts: Sequence[int]) -> list[int]:
    """Lines that begin, or Parquet rows, before each segment of a file, in one pass over what precedes the last.

    Args:
        path: the file.
        starts: where its segments start, ascending.

    Raises:
        OSError: the file cannot be read.
    """
    if not any(starts):
        return [0] * len(starts)
    kind = format_of(path)
    if kind and kind.layout == "parquet":
        return rows_before(path, starts)
    counts = []
    newlines = position = 0
    inside = False
    with Path(path).open("rb") as file:
        for start in starts:
            while position < start and (block := file.read(min(start - position, _BLOCK))):
                newlines += block.count(b"\n")
                position += len(block)
                inside = not block.endswith(b"\n")
            counts.append(newlines + inside)
    return counts
