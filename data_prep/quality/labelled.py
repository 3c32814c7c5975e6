"""Labelled examples: JSON lines with a text and a ``label`` of 0 or 1, or a ``score``."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from custom_modules.errors import UserError
from data_prep.input.input_files import InputFile, format_of
from data_prep.quality.options import QualityOptions

LABEL_KEY = "label"
SCORE_KEY = "score"
_BUFFER = 1 << 20
_BOM = b"\xef\xbb\xbf"
_CODECS = {"jsonl": None, "jsonl.gz": "gzip", "jsonl.zst": "zstd"}


def read_labelled(file: InputFile, options: QualityOptions) -> Iterator[tuple[str, int]]:
    """Stream texts with their labels: 1 good, 0 not.

    Raises:
        UserError: a record that has no text or no label, named by file and line; labels are too dear to be skipped.
    """
    number = 0
    try:
        with _lines(file.path) as lines:
            for line in lines:
                number += 1
                line = line.removeprefix(_BOM) if number == 1 else line
                if not line.isspace():
                    yield _parse(line, options)
    except _BadRecordError as error:
        raise UserError(f"{file.path}:{number}: {error}") from None
    except OSError as error:
        reason = error.strerror or f"damaged after line {number:,}"
        raise UserError(f"{file.path}: cannot be read ({reason}); give a whole file") from None


class _BadRecordError(ValueError):
    """What is wrong with a record, and what to do."""


@contextmanager
def _lines(path: str) -> Iterator[BinaryIO]:
    kind = format_of(path)
    if kind not in _CODECS:
        raise UserError(f"labelled={path}: labels are read from JSON lines; give .jsonl, .jsonl.gz or .jsonl.zst")
    codec = _CODECS[kind]
    if codec is None:
        with Path(path).open("rb", buffering=_BUFFER) as file:
            yield file
        return
    import pyarrow

    stream: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(path), codec)
    with io.BufferedReader(stream, _BUFFER) as file:
        yield file


def _parse(line: bytes, options: QualityOptions) -> tuple[str, int]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _BadRecordError(f"invalid JSON ({error.msg}); correct it") from None
    text = record.get(options.text_key) if isinstance(record, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise _BadRecordError(f"no text under {options.text_key!r}; correct it, or name the field with text_key")
    return text, _label(record, options.good_score)


def _label(record: dict[str, Any], good_score: float | None) -> int:
    if LABEL_KEY in record:
        label = record[LABEL_KEY]
        if label not in (0, 1):
            raise _BadRecordError(f"{LABEL_KEY}={str(label)[:40]}: must be 1 for a good text or 0")
        return int(label)
    score = record.get(SCORE_KEY)
    if not isinstance(score, (int, float)) or math.isnan(score):
        raise _BadRecordError(f"neither {LABEL_KEY!r} (0 or 1) nor a number as {SCORE_KEY!r}; give one")
    if good_score is None:
        raise _BadRecordError(f"it has a {SCORE_KEY!r} only; say from which score on a text is good: good_score=NUMBER")
    return int(score >= good_score)
