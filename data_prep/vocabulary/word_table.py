"""Words with how often they come, in two files that are read from any place on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained

HASHES = 1 << 32
"""How many numbers a word's hash may be."""
_ENTRY = np.dtype([("hash", "<u4"), ("bytes", "<u4"), ("begin", "<u8"), ("counted", "<u8"), ("held_out", "<u8")])
"""A word: where it lies in the file of words, and how often it comes in the text that is counted and that held out."""
_ENTRIES, _WORDS = "entries.bin", "words.bin"


@dataclass(frozen=True)
class WordCounts:
    """Some words, in UTF-8, and how often each comes."""

    words: list[bytes]
    counted: NDArray[np.int64]
    """[words]"""
    held_out: NDArray[np.int64]
    """[words]: in the text that is held out."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The bytes of each word: [words]."""
        return np.fromiter(map(len, self.words), np.int64, len(self.words))


def write_table(folder: Path, counts: WordCounts) -> None:
    """Write a table, by the words' hashes, into a folder, which is made if it is not there.

    Whoever publishes the folder puts it on the disk.

    Raises:
        UserError: it cannot be written.
    """
    hashes = np.fromiter(map(crc32, counts.words), np.uint32, len(counts.words))
    order = np.argsort(hashes, kind="stable")
    entries = np.empty(len(order), _ENTRY)
    entries["hash"], entries["bytes"] = hashes[order], counts.sizes[order]
    entries["begin"] = np.cumsum(entries["bytes"], dtype=np.int64) - entries["bytes"]
    entries["counted"], entries["held_out"] = counts.counted[order], counts.held_out[order]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _ENTRIES).write_bytes(entries.data)
        (folder / _WORDS).write_bytes(b"".join(counts.words[place] for place in order))


def size_of(folder: Path) -> int:
    """Return how many words a table has.

    Raises:
        UserError: it cannot be read.
    """
    with explained(folder / _ENTRIES):
        return (folder / _ENTRIES).stat().st_size // _ENTRY.itemsize


def read_between(folder: Path, begin: int, end: int) -> WordCounts:
    """Read the words of a table whose hashes are at least ``begin`` and below ``end``.

    Raises:
        UserError: it cannot be read.
    """
    entries = _entries(folder)
    hashes = entries["hash"]
    return _read(folder, entries[bisect_left(hashes, begin) : bisect_left(hashes, end)])


def read_pieces(folder: Path, at_once: int) -> Iterator[WordCounts]:
    """Read a table, so many words at a time.

    Raises:
        UserError: it cannot be read.
    """
    entries = _entries(folder)
    for begin in range(0, len(entries), at_once):
        yield _read(folder, entries[begin : begin + at_once])


def join(parts: Sequence[WordCounts]) -> WordCounts:
    """Add up the counts of words, each of which may be in several parts."""
    places: dict[bytes, int] = {}
    found = [[places.setdefault(word, len(places)) for word in part.words] for part in parts]
    counted, held_out = np.zeros((2, len(places)), np.int64)
    for part, where in zip(parts, found, strict=True):
        counted[where] += part.counted
        held_out[where] += part.held_out
    return WordCounts(list(places), counted, held_out)


def _entries(folder: Path) -> NDArray[Any]:
    if not size_of(folder):
        return np.empty(0, _ENTRY)
    with explained(folder / _ENTRIES):
        return np.memmap(folder / _ENTRIES, _ENTRY, mode="r")


def _read(folder: Path, entries: NDArray[Any]) -> WordCounts:
    ends = np.cumsum(entries["bytes"], dtype=np.int64)
    with explained(folder / _WORDS), (folder / _WORDS).open("rb") as file:
        file.seek(int(entries["begin"][0]) if len(entries) else 0)
        content = file.read(int(ends[-1]) if len(entries) else 0)
    words = [content[begin:end] for begin, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)]
    return WordCounts(words, entries["counted"].astype(np.int64), entries["held_out"].astype(np.int64))
