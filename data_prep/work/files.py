"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import sync


class DiskFullError(UserError):
    """No room for a file: its path, and how the system says so."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; make room, and the same command goes on from the last finished piece"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a line that names the file.

    Raises:
        UserError: instead of any ``OSError``: a missing permission, a bad device; `DiskFullError` for a full disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(str(error.filename or path), str(error.strerror)) from error
        raise UserError(
            f"{error.filename or path}: {error.strerror or error}; put that right, and the same command goes on "
            "from the last finished piece"
        ) from error


@dataclass(frozen=True)
class WrittenFile:
    bytes: int
    sha256: str


class HashedWriter:
    """A new file whose SHA-256 is known when the last byte has been written.

    Raises:
        UserError: from every method, when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self._bytes = 0
        with explained(path):
            self._file = path.open("wb")

    def write(self, content: bytes) -> None:
        with explained(self._path):
            self._file.write(content)
        self._hash.update(content)
        self._bytes += len(content)

    def finish(self) -> WrittenFile:
        """Put everything on the disk and close."""
        with explained(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return WrittenFile(self._bytes, self._hash.hexdigest())

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file aside, then publish it in place of what was there."""
    aside = path.with_name(path.name + ".tmp")
    with explained(path):
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync(path.parent)


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{file.relative_to(folder)}\0{sha256_of(file)}\0".encode())
    return whole.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
