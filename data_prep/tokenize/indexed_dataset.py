"""Megatron's ``.bin`` and ``.idx`` files, written as a stream.

megatron-core's own ``IndexedDatasetBuilder`` writes the same bytes, but it keeps every document's length and pointer
as Python integers until the end, which a trillion tokens do not allow, and takes seconds to import.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import HashedWriter, WrittenFile

_HEADER = b"MMIDIDX\x00\x00"
_VERSION = 1
_DTYPE_CODES = {np.dtype(np.uint16): 8, np.dtype(np.int32): 4}
_CHUNK = 1 << 20


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The dtype that megatron-core chooses: uint16 below 65,500 ids, else int32."""
    return np.dtype(np.uint16) if vocab_size < 65_500 else np.dtype(np.int32)


class IndexedDatasetWriter:
    """One dataset that grows by batches of documents. Memory does not grow with it.

    Args:
        prefix: the files' path without ``.bin`` and ``.idx``; an existing dataset there is overwritten.
        dtype: of a token: uint16 or int32.

    Raises:
        UserError: from every method, when a file cannot be written.
    """

    def __init__(self, prefix: Path, dtype: np.dtype[Any]) -> None:
        self._prefix = prefix
        self._dtype = dtype
        self.documents = 0
        self.tokens = 0
        self._bin = HashedWriter(self._path(".bin"))
        self._lengths = HashedWriter(self._path(".lengths"))

    def _path(self, suffix: str) -> Path:
        return self._prefix.with_name(self._prefix.name + suffix)

    def append(self, tokens: NDArray[Any], lengths: NDArray[np.int32]) -> None:
        """Add documents.

        Args:
            tokens: [sum of lengths], of this dataset's dtype: the documents one after another.
            lengths: [documents], int32: tokens of each, none of them 0.
        """
        assert tokens.dtype == self._dtype and tokens.size == lengths.sum(dtype=np.int64)
        self._bin.write(tokens.tobytes())
        self._lengths.write(lengths.astype("<i4").tobytes())
        self.documents += lengths.size
        self.tokens += tokens.size

    def finish(self) -> tuple[WrittenFile, WrittenFile]:
        """Write the index and close. Returns what the ``.bin`` and the ``.idx`` have become."""
        data = self._bin.finish()
        self._lengths.finish()
        index = HashedWriter(self._path(".idx"))
        code = _DTYPE_CODES[self._dtype]
        index.write(_HEADER + struct.pack("<QBQQ", _VERSION, code, self.documents, self.documents + 1))
        for lengths in self._stored_lengths():
            index.write(lengths.tobytes())
        pointer = 0
        for lengths in self._stored_lengths():
            ends = pointer + np.cumsum(lengths, dtype="<i8") * self._dtype.itemsize
            index.write((ends - lengths * np.int64(self._dtype.itemsize)).tobytes())
            pointer = int(ends[-1])
        for start in range(0, self.documents + 1, _CHUNK):
            index.write(np.arange(start, min(start + _CHUNK, self.documents + 1), dtype="<i8").tobytes())
        written = index.finish()
        self._path(".lengths").unlink()
        return data, written

    def _stored_lengths(self) -> Iterator[NDArray[np.int32]]:
        with self._path(".lengths").open("rb") as file:
            while (lengths := np.fromfile(file, "<i4", _CHUNK)).size:
                yield lengths

    def abandon(self) -> None:
        """Close without an index; what was written is no dataset."""
        self._bin.abandon()
        self._lengths.abandon()
