"""What is read of a file: its texts, its bad records, and its damage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import orjson

from data_prep.input.documents import Damage, Document, Rejection
from data_prep.input.input_files import InputFile
from data_prep.input.readers import read_segment
from data_prep.input.units import Segment


@dataclass
class Found:
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """Of the texts."""
    rejected: list[tuple[int, str]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def whole(path: Path) -> Segment:
    return Segment.whole(InputFile.of(path))


def read(path: Path, key: str = "text", url_key: str | None = None) -> Found:
    found = Found()
    for record in read_segment(whole(path), key, url_key):
        if isinstance(record, Document):
            found.texts.append(record.text)
            found.lines.append(record.line)
        elif isinstance(record, Rejection):
            found.rejected.append((record.line, record.reason))
        else:
            assert isinstance(record, Damage)
            (found.damage if record.is_lost else found.warnings).append(record.reason)
    return found


def json_lines(texts: list[str]) -> bytes:
    return b"".join(orjson.dumps({"text": text}, option=orjson.OPT_APPEND_NEWLINE) for text in texts)
