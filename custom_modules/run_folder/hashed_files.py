"""The files that torch's distributed checkpointing writes: cut into small pieces, and hashed on the way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem

from custom_modules.files import sync
from custom_modules.one_thread import OneThread

PIECE_BYTES = 256 * 1024
"""The size of one write. Whole tensors took twice as long on a virtual machine that gives its free memory back to the
host."""


class PiecewiseFile(io.BufferedWriter):
    """A new file that is written in pieces of `PIECE_BYTES`."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            super().write(view[start : start + PIECE_BYTES])
        return len(view)


class HashedFile(PiecewiseFile):
    """A new file whose SHA-256 is computed while it is written, and known without reading it."""

    def __init__(self, path: Path) -> None:
        self._sha256 = hashlib.sha256()
        self._hasher = OneThread()
        super().__init__(path)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) < PIECE_BYTES:
            self._sha256.update(view)
            return super().write(view)
        hashed = self._hasher.submit(self._sha256.update, view)
        try:
            return super().write(view)
        finally:
            hashed.result()

    def close(self) -> None:
        self._hasher.end()
        super().close()


class HashedFiles(FileSystem):
    """The file system of a ``FileSystemWriter`` that knows the SHA-256 of what it has written, without reading it."""

    def __init__(self) -> None:
        self.sha256: dict[Path, str] = {}

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        """Give a new file; it is on the disk when it is closed."""
        assert mode == "wb"
        with HashedFile(path) as stream:
            yield stream
        sync(path)  # torch does it before the last piece is written
        self.sha256[path] = stream.sha256

    def rename(self, path: Any, new_path: Any) -> None:
        """Rename a file that was written."""
        super().rename(path, new_path)
        self.sha256[new_path] = self.sha256.pop(path)
