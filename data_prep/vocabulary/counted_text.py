"""The text that tokens are chosen by: its files found and looked at, its words counted, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_modules.config.schema import TEXT
from custom_modules.errors import UserError
from data_prep.builtin.inputs import collect_builtin, list_files
from data_prep.input.units import split_units
from data_prep.output.summary import reading_lines
from data_prep.vocabulary.count_corpus import count_corpus
from data_prep.vocabulary.word_table import read_pieces
from data_prep.work.damaged_files import OnDamagedFile, examine, find_damaged, find_warnings, refuse
from data_prep.work.progress import count, say
from data_prep.work.shard import in_segments, name_rejections
from data_prep.work.workers import Pool

RAW = "raw"
"""The folder of the builtin corpus, where it is among the text."""
_UNIT_BYTES = 64_000_000
"""A unit of input, which is what a killed command counts again, for each worker."""
_ON_DAMAGED_FILE = "--on-damaged-file"
_WORDS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class TextSizes:
    """What a text comes to; bytes are of UTF-8."""

    documents: int
    counted_bytes: int
    held_out_bytes: int
    words: int
    """How many the counted text has."""
    distinct_words: int
    """How many different ones all of the text has."""


@dataclass(frozen=True)
class CountedText:
    """A text's words."""

    tables: list[Path]
    """Tables of `data_prep.vocabulary.word_table`; each word is in one."""
    sizes: TextSizes


def count_text(
    texts: Sequence[str], text_key: str, on_damaged_file: OnDamagedFile, work: Path, workers: Pool
) -> CountedText:
    """Count the words of files and folders; what an earlier run has finished is found again.

    Args:
        texts: as ``data.input`` has them.
        text_key, on_damaged_file: as ``data`` has them.
        work: a folder for what is made on the way.

    Raises:
        UserError: no document, a file that is not there, or one that cannot be read where that is not allowed.
    """
    inputs = {TEXT: list(texts)}
    corpus = collect_builtin(inputs, work / RAW, text_key, workers)
    listing = list_files(inputs, corpus, work, text_key)
    say(f"{count(len(listing.files), 'source file')}, {sum(file.bytes for file in listing.files) / 1e6:,.1f} MB")
    examine(listing, on_damaged_file, text_key, None, _ON_DAMAGED_FILE)
    units = split_units(listing.files, _UNIT_BYTES)
    tables, counts = count_corpus(units, text_key, work, workers)
    segments = in_segments(units, counts)
    damaged = [*listing.unreadable, *find_damaged(segments)]
    if on_damaged_file == "fail":
        refuse(damaged, _ON_DAMAGED_FILE)
    skipped = sum(counted.skipped for _, counted in segments)
    for line in reading_lines(damaged, find_warnings(segments), skipped, name_rejections(segments)):
        say(line)
    documents = sum(counted.documents for _, counted in segments)
    if not documents:
        raise UserError(f"--on {' '.join(texts)}: no document in it; give text")
    return CountedText(tables, _measure(tables, documents))


def _measure(tables: Sequence[Path], documents: int) -> TextSizes:
    counted = held_out = words = distinct = 0
    for table in tables:
        for piece in read_pieces(table, _WORDS_AT_ONCE):
            counted += int(piece.sizes @ piece.counted)
            held_out += int(piece.sizes @ piece.held_out)
            words += int(piece.counted.sum())
            distinct += len(piece.words)
    return TextSizes(documents, counted, held_out, words, distinct)
