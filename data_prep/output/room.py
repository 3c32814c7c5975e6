"""What to say when the disk is full: how much room the rest takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from custom_modules.data.index import token_dtype
from custom_modules.errors import UserError
from custom_modules.files import PARTIAL, DiskFullError
from custom_modules.text import decimal_bytes
from custom_modules.tokenizer import Tokenizer
from data_prep.input.documents import Document
from data_prep.input.readers import read_segment
from data_prep.input.units import Unit
from data_prep.steps.filter_shard import REMOVED

_SAMPLED_DOCUMENTS = 500
_SAMPLED_CHARACTERS = 4_000
_KEPT = ("filtered", "units", "datasets")
"""Folders of what is counted; a step over the whole corpus says by itself what it writes beside them."""


@contextmanager
def room_named(work: Path, units: Sequence[Unit], text_key: str, tokenizer: Tokenizer, passes: int) -> Iterator[None]:
    """Add to the message about a full disk how many bytes are still to be written.

    Projected from the units that are done: units are of about one size. Where none is, from the text of the first.

    Args:
        work: the folder of what is made on the way.
        passes: how often filtering stores all documents.

    Raises:
        UserError: instead of `DiskFullError`.
    """
    try:
        yield
    except DiskFullError as error:
        text = 0 if _finished(work / "units") else _text_bytes(units[0], text_key) * len(units)
        tokens = _projected(work / "units", "*", len(units)) or round(
            text * _token_bytes(units[0], text_key, tokenizer)
        )
        needed = 2 * tokens
        needed += passes * (_projected(work / "filtered", "*", len(units)) or text)
        needed += _projected(work / "filtered", REMOVED, len(units)) if passes else 0
        kept = (file for folder in _KEPT for file in (work / folder).rglob("*"))
        written = sum(file.stat().st_size for file in kept if file.is_file())
        more = decimal_bytes(max(needed - written, 0))
        raise UserError(
            f"{error.path}: {error.reason}; about {more} more are needed: make that room, and the same command goes on "
            "from the last finished piece"
        ) from error


def _finished(folder: Path) -> list[Path]:
    return [shard for shard in folder.glob("*") if shard.suffix != PARTIAL]


def _projected(folder: Path, pattern: str, units: int) -> int:
    """Bytes of a kind of file when all units are done; 0 where none is."""
    finished = _finished(folder)
    size = sum(file.stat().st_size for shard in finished for file in shard.glob(pattern))
    return size * units // len(finished) if finished else 0


def _text_bytes(unit: Unit, text_key: str) -> int:
    return sum(len(text.encode()) for text in _texts(unit, text_key))


def _token_bytes(unit: Unit, text_key: str, tokenizer: Tokenizer) -> float:
    """Bytes of tokens for a byte of text."""
    texts = [text[:_SAMPLED_CHARACTERS] for text in islice(_texts(unit, text_key), _SAMPLED_DOCUMENTS)]
    tokens = sum(map(len, tokenizer.encode_batch(texts))) + len(texts)
    return tokens * token_dtype(tokenizer.vocab_size).itemsize / max(1, sum(len(text.encode()) for text in texts))


def _texts(unit: Unit, text_key: str) -> Iterator[str]:
    records = (record for segment in unit for record in read_segment(segment, text_key))
    return (record.text for record in records if isinstance(record, Document))
