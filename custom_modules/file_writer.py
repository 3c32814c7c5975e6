"""Files that are written as a stream, with their hash known at the end or without."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from custom_modules.files import explained
from custom_modules.one_thread import Answer, OneThread
from custom_modules.system import to_disk

_READ_AT_ONCE = 1 << 22
_HASHED_BESIDE = 1 << 20


@dataclass(frozen=True)
class WrittenFile:
    """What a `HashedWriter` has written."""

    bytes: int
    sha256: str


class FileWriter:
    """A file that is written as a stream, and is on the disk when it is finished.

    Args:
        kept: bytes at the beginning of the file that is there to go on behind; it must have so many. What is behind
            them is dropped.

    Raises:
        UserError: from every method, when the file cannot be written.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        self._path = path
        with explained(path):
            self._file = path.open("r+b" if kept else "wb")
            self._file.truncate(kept)
            self._file.seek(kept)

    def write(self, content: bytes | memoryview) -> None:
        """Append to the file."""
        with explained(self._path):
            self._file.write(content)

    def sync(self) -> None:
        """Put everything that was written on the disk."""
        with explained(self._path):
            self._file.flush()
            to_disk(self._file.fileno())

    def finish(self) -> None:
        """Put everything on the disk and close."""
        self.sync()
        with explained(self._path):
            self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):
            self._file.close()


class HashedWriter:
    """A `FileWriter` that knows its file's SHA-256 when the last byte has been written.

    Args:
        kept: as a `FileWriter` has it; these bytes are read again.

    Raises:
        UserError: from every method, when the file cannot be read or written.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        self._hash = hashlib.sha256()
        self._bytes = kept
        self._hasher = OneThread()
        self._hashing: Answer[None] | None = None
        if kept:
            self._read_again(path, kept)
        self._file = FileWriter(path, kept)

    def _read_again(self, path: Path, kept: int) -> None:
        with explained(path), path.open("rb") as file:
            while left := kept - file.tell():
                content = file.read(min(left, _READ_AT_ONCE))
                assert content, f"{path} has fewer bytes than it is to keep"
                self._hash.update(content)

    def write(self, content: bytes | memoryview) -> None:
        """Append to the file: bytes that do not change. Much at a time is hashed while more is got and written."""
        self._wait_for_hash()
        if len(content) >= _HASHED_BESIDE:
            self._hashing = self._hasher.submit(self._hash.update, content)
        else:
            self._hash.update(content)
        self._file.write(content)
        self._bytes += len(content)

    def sync(self) -> None:
        """Put everything that was written on the disk."""
        self._file.sync()

    def finish(self) -> WrittenFile:
        """Put everything on the disk and close."""
        self._file.finish()
        self._wait_for_hash()
        self._hasher.end()
        return WrittenFile(self._bytes, self._hash.hexdigest())

    def abandon(self) -> None:
        """Close the file as it is."""
        self._hasher.end()
        self._file.abandon()

    def _wait_for_hash(self) -> None:
        if self._hashing:
            self._hashing.result()
            self._hashing = None
