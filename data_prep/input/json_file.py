"""``.json`` files: lines of JSON as often as one value, of which only an array can be taken apart."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from custom_modules.text import spelled
from data_prep.input.documents import Damage
from data_prep.input.formats import Codec, format_of
from data_prep.input.json_values import NotJsonError, parse_json
from data_prep.input.lines import LineReader, LongLine
from data_prep.input.units import Segment

_LONGEST = 1 << 24
"""Bytes of a first line that is looked at: many files are, at once. A longer one is left to the reader."""
_BEGINNING = 1 << 12
"""Bytes of a line of which it is only asked how it begins."""
_UNPACK: dict[Codec, str] = {"gzip": "gzip -dc", "zstd": "zstd -dc", "xz": "xz -dc", "bzip2": "bzip2 -dc"}


class NoLines(NamedTuple):
    """What a file is instead of lines of objects, and the command that makes such lines of it, if there is one."""

    what: str
    remedy: str | None = None


def why_no_lines(segment: Segment, text_key: str | None, takes_arrays: bool = False) -> NoLines | None:
    """Say what a file is whose first line is no object with a text; None of one that has such a line.

    None, too, of a file that cannot be read: that is for its reader to say.

    Args:
        segment: all of the file.
        text_key: the field that an object needs; None: none.
        takes_arrays: whether an array is as welcome as lines: then None is returned of it.
    """
    path = segment.file.path
    for line in LineReader(segment, _LONGEST):
        if isinstance(line, Damage):
            return None
        if (line.start if isinstance(line, LongLine) else line).lstrip().startswith(b"["):
            return None if takes_arrays else NoLines("a JSON array", _remedy(path, ".[]"))
        if isinstance(line, LongLine):
            return None
        if not line.isspace():
            return _judge(line, path, text_key)
    return NoLines("empty")


def is_array(segment: Segment) -> bool:
    """Tell whether a file begins as a JSON array; False of one that cannot be read.

    Args:
        segment: all of the file.
    """
    for line in LineReader(segment, _BEGINNING):
        if isinstance(line, Damage):
            return False
        start = line.start if isinstance(line, LongLine) else line
        if not start.isspace():
            return start.lstrip().startswith(b"[")
    return False


def _judge(line: bytes, path: str, text_key: str | None) -> NoLines | None:
    start = line.strip()
    try:
        value = parse_json(line)
    except NotJsonError:
        if not start.startswith(b"{"):
            return NoLines("no JSON")
        # A record that is bad does not make its file another.
        return None if start.endswith(b"}") else NoLines("a JSON object over several lines", _remedy(path, "."))
    if not isinstance(value, dict):
        return NoLines("a JSON value that is no object")
    if not value:
        return NoLines("an empty JSON object")
    if text_key is not None and text_key not in value:
        return NoLines(f"JSON without a field {text_key!r}")
    return None


def _remedy(path: str, filter_: str) -> str:
    kind = format_of(path)
    assert kind is not None
    target = shlex.quote(f"{spelled(path)[: -len(kind.suffix)]}.jsonl")
    source = shlex.quote(spelled(path))
    command = f"jq -c {shlex.quote(filter_)}"
    return f"{_UNPACK[kind.codec]} {source} | {command} > {target}" if kind.codec else f"{command} {source} > {target}"
