"""Records of a corpus, put into files by a number of theirs, so that each file can be worked on alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained

RECORDS = 1 << 20
"""About as many as a file should have."""
_BUFFER_BYTES = 1 << 26


def partitions_for(records: int) -> int:
    """How many files to put so many records into."""
    return max(1, -(-records // RECORDS))


class Partitions:
    """A file for each of some numbers. One is open at a time: they are written in turns, many records at once.

    As a context manager, all records are in their files when the context closes.

    Args:
        folder: where they are written; there, and empty.
        dtype: of a record.

    Raises:
        UserError: from every method, when a file cannot be written.
    """

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self._folder, self._dtype = folder, dtype
        self._waiting: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
        self._bytes = 0

    def add(self, records: NDArray[Any], numbers: NDArray[np.integer[Any]]) -> None:
        """Put records, [n], into the files of their numbers, [n]; they stay in the order in which they come."""
        if not len(records):
            return
        raw = np.dtype((np.void, self._dtype.itemsize))  # numpy joins numbers of any byte order as the machine's own
        self._waiting.append((np.ascontiguousarray(records, self._dtype).view(raw), numbers.astype(np.int64)))
        self._bytes += records.nbytes
        if self._bytes >= _BUFFER_BYTES:
            self._write()

    def _write(self) -> None:
        if not self._waiting:
            return
        numbers = np.concatenate([some for _, some in self._waiting])
        order = np.argsort(numbers, kind="stable")
        records = np.concatenate([some for some, _ in self._waiting])[order]
        self._waiting, self._bytes = [], 0
        present, begins = np.unique(numbers[order], return_index=True)
        for number, some in zip(present.tolist(), np.split(records, begins[1:]), strict=True):
            path = partition_file(self._folder, number)
            with explained(path), path.open("ab") as file:
                file.write(some.data)

    def __enter__(self) -> Partitions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()


def partition_file(folder: Path, number: int) -> Path:
    """Where the records of a number are; a number that has none has no file."""
    return folder / f"{number:06d}.bin"


def pieces_of(path: Path, dtype: np.dtype[Any], records: int) -> Iterator[NDArray[Any]]:
    """Read a file of records, so many at a time.

    Raises:
        UserError: the file cannot be read.
    """
    with explained(path), path.open("rb") as file:
        while len(piece := np.fromfile(file, dtype, records)):
            yield piece


def between(path: Path, dtype: np.dtype[Any], begin: int, end: int) -> NDArray[Any]:
    """Read the records of a file whose ``position`` is at least ``begin`` and below ``end``; none where it is missing.

    Args:
        path: a file of records that are sorted by their ``position``.

    Raises:
        UserError: the file cannot be read.
    """
    with explained(path):
        if not path.exists() or not path.stat().st_size:
            return np.empty(0, dtype)
        records = np.memmap(path, dtype, mode="r")
    positions = records["position"]
    return np.array(records[bisect_left(positions, begin) : bisect_left(positions, end)])
