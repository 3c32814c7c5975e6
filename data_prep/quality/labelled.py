"""Labelled examples: JSON lines with a text and a ``label`` of 0 or 1, or a ``score``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from custom_modules.errors import UserError
from data_prep.input.documents import Damage
from data_prep.input.formats import format_of
from data_prep.input.input_files import InputFile
from data_prep.input.json_values import LONE_SURROGATE, NotJsonError, parse_json
from data_prep.input.lines import LineReader, LongLine
from data_prep.input.units import Segment
from data_prep.quality.options import QualityOptions

LABEL_KEY = "label"
SCORE_KEY = "score"


def check_layout(file: InputFile) -> None:
    """Refuse a file that is no JSON lines.

    Raises:
        UserError: it is.
    """
    kind = format_of(file.path)
    if kind is None or kind.layout != "lines":
        raise UserError(f"labelled={file.shown}: labels are read from JSON lines; give .jsonl, .jsonl.gz or .jsonl.zst")


def read_labelled(file: InputFile, options: QualityOptions) -> Iterator[tuple[str, int] | Damage]:
    """Stream texts with their labels: 1 good, 0 not; at the end, maybe, why no more can be read.

    Raises:
        UserError: a record that has no text or no label, named by file and line; labels are too dear to be skipped.
    """
    for number, line in enumerate(LineReader(Segment.whole(file)), start=1):
        if isinstance(line, Damage):
            yield line
        elif isinstance(line, LongLine):
            raise UserError(f"{file.shown}:{number}: {line.reason}; take it out")
        elif not line.isspace():
            try:
                yield _parse(line, options)
            except _BadRecordError as error:
                raise UserError(f"{file.shown}:{number}: {error}") from None


class _BadRecordError(ValueError):
    """What is wrong with a record, and what to do."""


def _parse(line: bytes, options: QualityOptions) -> tuple[str, int]:
    try:
        record = parse_json(line)
    except NotJsonError as error:
        raise _BadRecordError(f"{error}; correct it") from None
    text = record.get(options.text_key) if isinstance(record, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise _BadRecordError(f"no text under {options.text_key!r}; correct it, or name the field with text_key")
    if lone := LONE_SURROGATE.search(text):
        raise _BadRecordError(f"a lone surrogate at character {lone.start() + 1} of the text; correct it")
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
