"""The words of a unit's documents, counted into tables in a folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import orjson

from custom_modules.files import whole_folder
from data_prep.input.units import Unit
from data_prep.vocabulary.word_table import WordCounts, write_table
from data_prep.vocabulary.words import stretches, words
from data_prep.work.shard import SegmentCount, read_unit, write_record

HELD_OUT_PART = 20
"""One stretch in so many is held out."""
_WORDS_IN_MEMORY = 1 << 18
_CHARACTERS_IN_MEMORY = 1 << 26
"""How many characters of distinct words are held, where they are mostly new and long."""
_FORMAT = 1


def unit_key(unit: Unit, text_key: str) -> str:
    """Name a unit's folder: another for a changed source, another field or another way to count."""
    defining = {"format": _FORMAT, "text_key": text_key, "unit": [segment.identity for segment in unit]}
    return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


def tables_of(folder: Path) -> list[Path]:
    """Return the tables of a unit's folder."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def count_words(folder: Path, key: str, unit: Unit, text_key: str) -> list[SegmentCount]:
    """Count the words of a unit, and publish ``folder/key``.

    A stretch of a text is held out by the hash of its content, so that copies are on the same side. Memory is that of
    `_WORDS_IN_MEMORY` words and of the longest document: more words go into further tables.

    Returns:
        A count per segment.

    Raises:
        UserError: a file that cannot be written.
    """
    counts = [SegmentCount() for _ in unit]
    with whole_folder(folder / key, replace=True) as aside:
        tables = _Tables(aside)
        for _, count, document in read_unit(unit, counts, text_key):
            count.documents += 1
            for stretch in stretches(document.text):
                tables.add(stretch)
        tables.write()
        write_record(aside, counts)
    return counts


def is_held_out(stretch: str) -> bool:
    """Say whether a stretch of text is held out."""
    digest = hashlib.blake2b(stretch.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < 2**64 // HELD_OUT_PART


class _Tables:
    """Counts words in memory, and writes them into a table when there are many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counted, self._held_out = Counter[str](), Counter[str]()
        self._characters = self._written = 0

    def add(self, stretch: str) -> None:
        """Count the words of a stretch of text."""
        (self._held_out if is_held_out(stretch) else self._counted).update(words(stretch))
        self._characters += len(stretch)
        many = len(self._counted) + len(self._held_out) > _WORDS_IN_MEMORY
        if many or self._characters > _CHARACTERS_IN_MEMORY:
            self.write()

    def write(self) -> None:
        """Write what is in memory."""
        every = list(dict.fromkeys((*self._counted, *self._held_out)))
        counted, held_out = (
            np.fromiter(map(each.__getitem__, every), np.int64, len(every)) for each in (self._counted, self._held_out)
        )
        write_table(
            self._folder / f"{self._written:06d}", WordCounts([word.encode() for word in every], counted, held_out)
        )
        self._written += 1
        self._counted, self._held_out, self._characters = Counter[str](), Counter[str](), 0
