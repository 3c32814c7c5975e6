"""Plain text: a file is one document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.input.content import BOM, HEAD_BYTES, what_else
from data_prep.input.damage import unreadable
from data_prep.input.documents import EMPTY_TEXT, Damage, Document, Rejection
from data_prep.input.formats import format_of
from data_prep.input.units import Segment


def read_text(segment: Segment) -> Iterator[Document | Rejection | Damage]:
    """Give the document of a file: see `data_prep.input.readers.read_segment`."""
    path = Path(segment.file.path)
    kind = format_of(path)
    assert kind is not None
    try:
        content = path.read_bytes()
    except OSError as error:
        yield unreadable(path, error)
        return
    if wrong := what_else(content[:HEAD_BYTES], kind):
        yield Damage(f"it is {wrong}")
        return
    content = content.removeprefix(BOM)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        yield Rejection(f"invalid UTF-8 at byte {error.start} of the file", content.count(b"\n", 0, error.start) + 1)
        return
    if text:
        yield Document(text, 1) if text.strip() else Rejection(EMPTY_TEXT, 1)
