"""Documents in JSON lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import orjson

from data_prep.input.documents import Damage, Document, Rejection, document_of
from data_prep.input.json_values import LONE_SURROGATE, NotJsonError, parse_either, parse_loosely
from data_prep.input.lines import LineReader, LongLine
from data_prep.input.units import Segment

_LOOKED_AHEAD = 7
Read = TypeVar("Read")


class WholeRecord(NamedTuple):
    """A record with all its fields."""

    line: int
    """As `read_segment` has it for its document."""
    fields: dict[str, Any]
    is_standard: bool = True
    """Whether orjson can write it as it came: no NaN, no lone surrogate."""


def read_json_lines(segment: Segment, text_key: str, url_key: str | None) -> Iterator[Document | Rejection | Damage]:
    """Stream the documents of a segment: see `data_prep.input.readers.read_segment`."""
    lines = LineReader(segment)
    records = _records(lines, text_key, url_key)
    return _up_to_garbage(records, lines) if lines.is_packed else records


def _records(lines: LineReader, text_key: str, url_key: str | None) -> Iterator[Document | Rejection | Damage]:
    for number, line in enumerate(lines, start=1):
        if isinstance(line, bytes):
            if not line.isspace():
                yield _parse(line, text_key, url_key, number)
        else:
            yield Rejection(line.reason, number) if isinstance(line, LongLine) else line


def _up_to_garbage(
    records: Iterator[Read | Rejection | Damage], lines: LineReader
) -> Iterator[Read | Rejection | Damage]:
    """Records up to where those of a damaged member turn to garbage, which its decoder does not notice at once.

    That is where most of some records are none.
    """
    for record in records:
        if not isinstance(record, Rejection) or not (fault := lines.fault()):
            yield record
            continue
        some = [record, *itertools.islice(records, _LOOKED_AHEAD)]
        if sum(isinstance(one, Rejection) for one in some) > sum(
            not isinstance(one, Rejection | Damage) for one in some
        ):
            yield Damage(f"damaged ({fault}): what follows line {record.line - 1:,} is lost")
            return
        yield from some


def read_whole_lines(segment: Segment) -> Iterator[WholeRecord]:
    """Stream the objects of a segment; what is none is left out."""
    for number, line in enumerate(LineReader(segment), start=1):
        if isinstance(line, bytes):
            with suppress(NotJsonError):
                fields, is_standard = parse_either(line)
                if isinstance(fields, dict):
                    yield WholeRecord(number, fields, is_standard)


def read_lines_of_objects(segment: Segment) -> Iterator[WholeRecord | Rejection | Damage]:
    """Stream the objects of a segment, what is none, and the damage of the file."""
    lines = LineReader(segment)
    records = _objects(lines)
    return _up_to_garbage(records, lines) if lines.is_packed else records


def _objects(lines: LineReader) -> Iterator[WholeRecord | Rejection | Damage]:
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, bytes):
            yield Rejection(line.reason, number) if isinstance(line, LongLine) else line
        elif not line.isspace():
            try:
                fields, is_standard = parse_either(line)
            except NotJsonError as refusal:
                yield Rejection(str(refusal), number)
                continue
            if isinstance(fields, dict):
                yield WholeRecord(number, fields, is_standard)
            else:
                yield Rejection("not a JSON object", number)


def _parse(line: bytes, text_key: str, url_key: str | None, number: int) -> Document | Rejection:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            record = _without_lone_surrogates(parse_loosely(line, error), text_key, url_key)
        except NotJsonError as refusal:
            return Rejection(str(refusal), number)
    if not isinstance(record, dict):
        return Rejection("not a JSON object", number)
    if text_key not in record:
        return Rejection(f"no key {text_key!r}", number)
    return document_of(record[text_key], record.get(url_key), text_key, number)


def _without_lone_surrogates(record: Any, text_key: str, url_key: str | None) -> Any:
    """Return the fields that are asked for, without an address that cannot be encoded.

    Raises:
        NotJsonError: it is the text that cannot be.
    """
    if not isinstance(record, dict):
        return record
    fields = {key: record[key] for key in (text_key, url_key) if key in record}
    if isinstance(text := fields.get(text_key), str) and (lone := LONE_SURROGATE.search(text)):
        place = f"\\u{ord(lone[0]):x}, at character {lone.start() + 1} of {text_key!r}"
        raise NotJsonError(f"invalid JSON (a lone surrogate, {place})")
    if isinstance(url := fields.get(url_key), str) and LONE_SURROGATE.search(url):
        del fields[url_key]
    return fields
