"""Files and folders that appear whole or not at all, what they hash to, and how a refusal of the system is told.

Whatever is published was written aside, put on the disk and then renamed: neither a killed process nor a power cut
leaves something that looks finished and is not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from custom_modules.errors import PASSING, PassingError, UserError
from custom_modules.system import to_disk

PARTIAL = ".partial"
"""The suffix of what is being written aside."""

_ALMOST_FULL = 4_096
"""Bytes free below which not even a small file fits: a block of most file systems."""
_NUMPYS = re.compile(r"\d+ requested and \d+ written")
"""How numpy says that a file could not be written to its end."""
_REFUSALS = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EFBIG,
        errno.EMFILE,
        errno.ENFILE,
        errno.ETXTBSY,
    )
)
"""What a user can put right, and no program can cause by itself."""
_GOES_ON = "and the same command goes on from the last finished piece"


class DiskFullError(UserError):
    """No room for a file: its path, how the system says so, and what to do."""

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)
        self.path, self.reason, self.remedy = path, reason, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; {self.remedy}"


def is_on_full_disk(path: Path) -> bool:
    """Tell whether a file is, or would be, on a disk with no room left; some libraries tell it as something else."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return shutil.disk_usage(folder).free < _ALMOST_FULL


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the system refused something for lack of room."""
    if not isinstance(error, OSError):
        return False
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or _NUMPYS.fullmatch(str(error)) is not None


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Turn what the operating system refuses into a line that names the file.

    Args:
        path: what is read or written, for a refusal that does not say what it is of; None where that cannot be known,
            and then the line of code is named: a guess would lead astray.

    Raises:
        UserError: instead of any ``OSError``: a missing permission, a bad device; `DiskFullError` for a full disk.
    """
    try:
        yield
    except OSError as error:
        raise _told(error, path) from error


def refused(error: OSError) -> UserError | None:
    """Word what the operating system refuses where nobody expected it; None for what looks like a fault of ours."""
    known = (error.filename and error.errno in _REFUSALS) or is_disk_full(error) or error.errno in PASSING
    return _told(error, None) if known else None


def _told(error: OSError, path: Path | None) -> UserError:
    name = os.fsdecode(error.filename) if error.filename else str(path or _origin(error))
    reason = error.strerror or str(error)
    if is_disk_full(error) or (path is not None and is_on_full_disk(path)):
        return DiskFullError(name, reason, f"make room, {_GOES_ON}")
    if error.errno in PASSING:
        return PassingError(f"{name}: {reason}: its disk or file server failed; try again, {_GOES_ON}")
    return UserError(f"{name}: {reason}; put that right, {_GOES_ON}")


class UnreadableError(UserError):
    """The system refuses to read a file, which may be whole all the same."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses, while something is read, into a line that names the file.

    Args:
        path: what is read, for a refusal that does not say what it is of.

    Raises:
        UnreadableError: instead of any ``OSError``.
    """
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else path
        raise UnreadableError(
            f"{name}: cannot be read ({error.strerror or error}); put that right and run it again"
        ) from error


def _origin(error: OSError) -> str:
    """Name the line that an error comes from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno} ({last.name})"


def sync(path: Path) -> None:
    """Put a file's content, or the names inside a folder, on the disk, so that a power cut spares them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        to_disk(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_stream(path: Path) -> Iterator[BinaryIO]:
    """Give a new file to write into, and publish it in place of ``path`` when all went well.

    Raises:
        UserError: the file cannot be written; what was there before stands.
    """
    aside = _own_aside(path)
    with explained(path):
        try:
            with aside.open("wb") as stream:
                yield stream
                stream.flush()
                to_disk(stream.fileno())
            aside.replace(path)
            sync(path.parent)
        except OSError as error:
            if error.filename == str(aside):
                error.filename = str(path)
            raise
        finally:
            _remove(aside)


def whole_file(path: Path, content: bytes) -> None:
    """Publish one file in place of what was there.

    Raises:
        UserError: the file cannot be written; what was there before stands.
    """
    with whole_stream(path) as stream:
        stream.write(content)


def whole_files(files: Mapping[Path, bytes]) -> None:
    """Write all files aside, then publish all; their folders are made where they are missing.

    Raises:
        UserError: a file that cannot be written; what was there before stands.
    """
    asides = {path: _own_aside(path) for path in files}
    with ExitStack() as stack:
        try:
            for path, aside in asides.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.callback(_remove, aside)
                with aside.open("wb") as stream:
                    stream.write(files[path])
                    stream.flush()
                    to_disk(stream.fileno())
            for path, aside in asides.items():
                aside.replace(path)
            for folder in {path.parent for path in files}:
                sync(folder)
        except OSError as error:
            raise _unwritable(path, error, "give another folder or make room") from error


@contextmanager
def whole_folder(target: Path, replace: bool = False, alone: bool = False) -> Iterator[Path]:
    """Give a new folder beside ``target`` to write into, and publish it as ``target`` when all went well.

    Args:
        replace: put it in the place of what is there.
        alone: no other process makes this folder, so what a killed one has left of it is removed.

    Raises:
        UserError: ``target`` is there and not to be replaced, or the disk refuses; nothing is left of the new folder,
            nor of those above it that were made for it.
    """
    if target.exists() and not replace:
        raise UserError(f"{target}: already there; give another folder, or remove it first")
    aside = aside_of(target) if alone else _own_aside(target)
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        if alone:
            shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        publish_folder(aside, target)
    except OSError as error:
        raise _unwritable(target, error, "put that right and run it again", aside) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if not target.exists():
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()


def aside_of(target: Path) -> Path:
    """Return where something is written before it becomes ``target``, for processes that write it together."""
    return target.with_name(f".{target.name}{PARTIAL}")


def publish_folder(aside: Path, target: Path) -> None:
    """Put a folder with all that is in it on the disk, and rename it to ``target``, in place of what is there.

    Raises:
        OSError: the disk refuses; what was there before stands.
    """
    for path in (*aside.rglob("*"), aside):
        sync(path)
    replaced = target.with_name(f".{target.name}.{os.getpid()}.replaced")
    if target.exists():
        target.rename(replaced)
    try:
        aside.rename(target)
    except BaseException:
        if replaced.exists():
            replaced.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _own_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")


def asides_of_all(path: Path) -> list[Path]:
    """Return what processes have written aside to become ``path``: those that write it now, or were killed."""
    beside = re.compile(rf"\.{re.escape(path.name)}\.\d+{re.escape(PARTIAL)}")
    return sorted(found for found in path.parent.iterdir() if beside.fullmatch(found.name))


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _unwritable(path: Path, error: OSError, remedy: str, within: Path | None = None) -> UserError:
    """Word an error met while ``path`` was made.

    Args:
        within: where it was written; another file that the system refused, such as one that was read, is named instead.
    """
    reason = error.strerror or str(error)
    if within and error.filename:
        refused = Path(os.fsdecode(error.filename))
        if not (refused.is_relative_to(within) or refused.is_relative_to(path) or within.is_relative_to(refused)):
            is_full = is_disk_full(error)
            return (
                DiskFullError(str(refused), reason, remedy) if is_full else UserError(f"{refused}: {reason}; {remedy}")
            )
        if not refused.is_relative_to(within):
            reason += f": {refused}"
    if is_disk_full(error) or is_on_full_disk(within or path):
        return DiskFullError(str(path), f"cannot be written ({reason})", remedy)
    return UserError(f"{path}: cannot be written ({reason}); {remedy}")


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's files.

    Raises:
        OSError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{file.relative_to(folder)}\0{sha256_of(file)}\0".encode())
    return whole.hexdigest()
