"""The first pass: a unit's documents, tokenized, in a folder of their own that appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import orjson

from custom_modules.errors import UserError
from custom_modules.files import sync
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from data_prep.assignment import Assignment
from data_prep.documents import STEPS, Document, Rejection, apply_steps
from data_prep.files import HashedWriter, explained
from data_prep.indexed_dataset import token_dtype
from data_prep.readers import lines_before, read_segment
from data_prep.units import Segment, Unit

DOCUMENT_DTYPE = np.dtype([("length", "<i4"), ("destination", "<u2")])
"""What a part says of each of its documents: tokens, and the index of its stage and split."""

_FORMAT = 1
_BATCH_CHARACTERS = 1 << 20
_REJECTIONS_KEPT = 20


@dataclass(frozen=True)
class PartOptions:
    """All that defines a part beside its unit."""

    text_key: str
    on_error: Literal["skip", "raise"]
    assignment: Assignment
    tokenizer_library: str
    tokenizer_path: str
    tokenizer_sha256: str
    eos_id: int
    vocab_size: int

    def key(self, unit: Unit) -> str:
        """The name of a unit's part: another for other options, another tokenizer or a changed source."""
        defining = {
            **asdict(self),
            "tokenizer_path": None,
            "format": _FORMAT,
            "steps": [step.__name__ for step in STEPS],
            "unit": [asdict(segment) for segment in unit],
        }
        return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


@dataclass
class SegmentCount:
    """What became of a segment's records."""

    documents: int = 0
    skipped: int = 0
    rejections: list[tuple[int, str]] = field(default_factory=list)
    """Line within the segment, and reason, of the first few that were skipped."""


def find_part(folder: Path, key: str) -> list[SegmentCount] | None:
    """The record of a part that an earlier run finished; None where there is none."""
    try:
        record = orjson.loads((folder / key / "record.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return [SegmentCount(**segment) for segment in record]


def make_part(folder: Path, key: str, unit: Unit, options: PartOptions) -> list[SegmentCount]:
    """Read, assign, tokenize and publish one unit as a folder ``folder/key``.

    It holds ``tokens.bin`` (all documents in order), ``documents.bin`` (:data:`DOCUMENT_DTYPE`) and ``record.json``.

    Returns:
        A count per segment.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, or a file that cannot be written.
    """
    aside = folder / f"{key}.{os.getpid()}.tmp"
    with explained(aside):
        aside.mkdir()
    try:
        counts = _write(aside, unit, options)
        with explained(aside):
            sync(aside)
            aside.rename(folder / key)
            sync(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return counts


def _write(aside: Path, unit: Unit, options: PartOptions) -> list[SegmentCount]:
    tokenizer = _tokenizer(options.tokenizer_library, options.tokenizer_path)
    dtype = token_dtype(options.vocab_size)
    counts = [SegmentCount() for _ in unit]
    tokens, documents = HashedWriter(aside / "tokens.bin"), HashedWriter(aside / "documents.bin")
    for texts in _batches(unit, counts, options):
        encoded = tokenizer.encode_batch(texts)
        lengths = [len(ids) + 1 for ids in encoded]
        end = (options.eos_id,)
        ids = np.fromiter(chain.from_iterable(chain(ids, end) for ids in encoded), np.int64, sum(lengths))
        assert ids.min() >= 0 and ids.max() < options.vocab_size
        described = np.empty(len(texts), DOCUMENT_DTYPE)
        described["length"] = lengths
        described["destination"] = [options.assignment.destination(text) for text in texts]
        tokens.write(ids.astype(dtype).tobytes())
        documents.write(described.tobytes())
    record = HashedWriter(aside / "record.json")
    record.write(orjson.dumps([asdict(count) for count in counts]))
    for written in (tokens, documents, record):
        written.finish()
    return counts


def _batches(unit: Unit, counts: list[SegmentCount], options: PartOptions) -> Iterator[list[str]]:
    """The texts to tokenize, about a megabyte at a time; counts what it sees on the way."""
    texts: list[str] = []
    characters = 0
    for segment, count in zip(unit, counts, strict=True):
        for record in read_segment(segment, options.text_key):
            if isinstance(record, Rejection) and options.on_error == "raise":
                raise _fatal(segment, record)
            outcome = apply_steps(record) if isinstance(record, Document) else record
            if isinstance(outcome, Rejection):
                count.skipped += 1
                if len(count.rejections) < _REJECTIONS_KEPT:
                    count.rejections.append((outcome.line, outcome.reason))
                continue
            count.documents += 1
            texts.append(outcome.text)
            characters += len(outcome.text)
            if characters >= _BATCH_CHARACTERS:
                yield texts
                texts, characters = [], 0
    if texts:
        yield texts


def _fatal(segment: Segment, rejection: Rejection) -> UserError:
    line = lines_before(segment.source.path, [segment.start])[0] + rejection.line
    return UserError(
        f"{segment.source.path}:{line}: {rejection.reason}; correct it, or leave such records out with "
        "data.on_error=skip"
    )


@cache
def _tokenizer(library: str, path: str) -> Tokenizer:
    return load_tokenizer(library, Path(path))
