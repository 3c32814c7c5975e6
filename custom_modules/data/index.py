"""Megatron's indexed datasets: ``.bin`` and ``.idx`` files, written as a stream, and the ``.idx`` read.

megatron-core's own ``IndexedDatasetBuilder`` writes the same bytes, but it keeps every document's length and pointer
as Python integers until the end, which a trillion tokens do not allow, and takes seconds to import.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.token_dtype import token_dtype_name
from custom_modules.errors import UserError
from custom_modules.file_writer import FileWriter, HashedWriter, WrittenFile

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("uint8"),
    2: np.dtype("int8"),
    3: np.dtype("int16"),
    4: np.dtype("int32"),
    5: np.dtype("int64"),
    8: np.dtype("uint16"),
}
"""megatron-core's codes for what can be a token id."""

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
_CHUNK = 1 << 20
_LENGTH_BYTES = 4


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the dtype of the tokens of a vocabulary: see `custom_modules.data.token_dtype`."""
    return np.dtype(token_dtype_name(vocab_size))


@dataclass(frozen=True)
class Index:
    """An ``.idx`` mapped into memory. What it says is only sound once `danube check-data` has said so.

    Attributes:
        dtype: to read tokens with.
        code: megatron-core's code for the dtype, as stored.
        lengths: [sequences], int32: tokens of each.
        pointers: [sequences], int64: byte at which each begins in the ``.bin``.
        document_indices: [documents + 1], int64: the sequence that each document begins with; last, their number.
    """

    path: Path
    dtype: np.dtype[Any]
    code: int
    lengths: NDArray[np.int32]
    pointers: NDArray[np.int64]
    document_indices: NDArray[np.int64]

    @property
    def documents(self) -> int:
        return max(len(self.document_indices) - 1, 0)

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def boundaries(self, first: int, last: int) -> NDArray[np.int64]:
        """[last - first + 1], int64: the token at which documents begin; that of number `documents` is the end."""
        sequences = self.document_indices[first : last + 1]
        inside = np.minimum(sequences, len(self.lengths) - 1)
        ends = self.pointers[inside] + self.lengths[inside] * np.int64(self.dtype.itemsize)
        return np.where(sequences > inside, ends, self.pointers[inside]) // self.dtype.itemsize

    def document_at(self, token: int) -> int:
        """The document that a token belongs to; `documents` for one behind the last."""
        numbers = range(self.documents + 1)
        return bisect_right(numbers, token, key=lambda number: int(self.boundaries(number, number)[0])) - 1


def open_index(path: Path, dtype: np.dtype[Any] | None = None, remedy: str = "make or copy it again") -> Index:
    """Map an ``.idx`` into memory.

    Args:
        dtype: of the tokens, whatever the index says of it; None to believe the index.
        remedy: for the message: what to do about one that is damaged.

    Raises:
        UserError: it is missing, no Megatron index, of another size than its counts need, or of no integer dtype.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_HEADER.size)
            size = path.stat().st_size
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a prefix that has a .bin and an .idx"
        ) from None
    if len(start) < _HEADER.size or start[: len(_MAGIC)] != _MAGIC:
        raise UserError(f"{path}: begins with {start[: len(_MAGIC)]!r}, so it is not a Megatron index; {remedy}")
    _, version, code, sequences, boundaries = _HEADER.unpack(start)
    needed = _HEADER.size + 12 * sequences + 8 * boundaries
    if version != _VERSION:
        raise UserError(f"{path}: format version {version}, but only {_VERSION} is known; {remedy}")
    if size != needed:
        raise UserError(
            f"{path}: {size} bytes, but its {sequences} sequences and {boundaries} document ends take {needed}; "
            f"{remedy}"
        )
    if dtype is None and code not in DTYPES:
        raise UserError(f"{path}: dtype code {code} is none of {sorted(DTYPES)}, a token's; {remedy}")
    content = np.memmap(path, np.uint8, mode="r")
    lengths = np.ndarray((sequences,), "<i4", content, _HEADER.size)
    pointers = np.ndarray((sequences,), "<i8", content, _HEADER.size + 4 * sequences)
    document_indices = np.ndarray((boundaries,), "<i8", content, _HEADER.size + 12 * sequences)
    return Index(path, DTYPES[code] if dtype is None else dtype, code, lengths, pointers, document_indices)


class IndexedDatasetWriter:
    """One dataset that grows by batches of documents. Memory does not grow with it.

    Args:
        prefix: the files' path without ``.bin`` and ``.idx``; an existing dataset there is overwritten.
        dtype: of a token: uint16 or int32.
        documents, tokens: to keep of what a writer that was never finished has left there: see `is_left`.

    Raises:
        UserError: from every method, when a file cannot be written.
    """

    def __init__(self, prefix: Path, dtype: np.dtype[Any], documents: int = 0, tokens: int = 0) -> None:
        self._prefix = prefix
        self._dtype = dtype
        self.documents = documents
        self.tokens = tokens
        self._bin = HashedWriter(self._path(".bin"), tokens * dtype.itemsize)
        self._lengths = FileWriter(self._path(".lengths"), documents * _LENGTH_BYTES)

    @staticmethod
    def is_left(prefix: Path, dtype: np.dtype[Any], documents: int, tokens: int) -> bool:
        """Tell whether a writer that was never finished has left at least so much."""
        needed = {".bin": tokens * dtype.itemsize, ".lengths": documents * _LENGTH_BYTES}
        paths = {prefix.with_name(prefix.name + suffix): size for suffix, size in needed.items()}
        return all(path.is_file() and path.stat().st_size >= size for path, size in paths.items())

    def _path(self, suffix: str) -> Path:
        return self._prefix.with_name(self._prefix.name + suffix)

    def sync(self) -> None:
        """Put everything that was appended on the disk."""
        self._bin.sync()
        self._lengths.sync()

    def append(self, tokens: NDArray[Any], lengths: NDArray[np.int32]) -> None:
        """Add documents.

        Args:
            tokens: [sum of lengths], of this dataset's dtype: the documents one after another.
            lengths: [documents], int32: tokens of each, none of them 0.
        """
        assert tokens.dtype == self._dtype and tokens.size == lengths.sum(dtype=np.int64)
        self._bin.write(np.ascontiguousarray(tokens).view(np.uint8).data)
        self._lengths.write(lengths.astype("<i4").tobytes())
        self.documents += lengths.size
        self.tokens += tokens.size

    def finish(self) -> tuple[WrittenFile, WrittenFile]:
        """Write the index, close and clear away. Returns what the ``.bin`` and the ``.idx`` have become."""
        written = self.complete()
        self.clear()
        return written

    def complete(self) -> tuple[WrittenFile, WrittenFile]:
        """Write the index and close. What `is_left` looks for stays until `clear`."""
        data = self._bin.finish()
        self._lengths.finish()
        index = HashedWriter(self._path(".idx"))
        code = next(code for code, dtype in DTYPES.items() if dtype == self._dtype)
        index.write(_HEADER.pack(_MAGIC, _VERSION, code, self.documents, self.documents + 1))
        for lengths in self._stored_lengths():
            index.write(lengths.tobytes())
        pointer = 0
        for lengths in self._stored_lengths():
            ends = pointer + np.cumsum(lengths, dtype="<i8") * self._dtype.itemsize
            index.write((ends - lengths * np.int64(self._dtype.itemsize)).tobytes())
            pointer = int(ends[-1])
        for start in range(0, self.documents + 1, _CHUNK):
            index.write(np.arange(start, min(start + _CHUNK, self.documents + 1), dtype="<i8").tobytes())
        return data, index.finish()

    def clear(self) -> None:
        """Remove what only the making of the index needed."""
        self._path(".lengths").unlink()

    def _stored_lengths(self) -> Iterator[NDArray[np.int32]]:
        with self._path(".lengths").open("rb") as file:
            while (lengths := np.fromfile(file, "<i4", _CHUNK)).size:
                yield lengths

    def abandon(self) -> None:
        """Close without an index; what was written is no dataset."""
        self._bin.abandon()
        self._lengths.abandon()
