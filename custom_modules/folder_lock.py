"""One process per folder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import explained
from custom_modules.link_lock import HELD, TAKING_OVER, check_link_lock, link_lock
from custom_modules.text import say

LOCK = ".danube.lock"
OLD_LOCK = ".lock"
"""The name in versions before 0.2."""
LOCKS = (LOCK, OLD_LOCK, HELD, TAKING_OVER)
"""Every file that a lock may have left."""
_NO_FLOCK = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
"""How file systems say that they have none: NFS without lockd, Lustre mounted without ``flock``."""


@contextmanager
def folder_lock(folder: Path, key: str) -> Iterator[None]:
    """Hold a folder until the context or the process ends, however it ends.

    Where the file system has no flock, that is said, and a file made by an atomic link is held in its place.

    Args:
        folder: made if it is not there.
        key: the config key that chose the folder, for the message.

    Raises:
        UserError: another process holds it, or the file system cannot lock at all.
    """
    with explained(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("ab+", buffering=0)
    with stream:
        problem = _flock(stream, folder, key)
        if problem is not None:
            say(
                f"warning: {folder}: its file system has no flock ({problem}): mount it with it (Lustre: `-o flock`; "
                f"NFS: without `nolock`); until then {HELD} in it says who uses the folder"
            )
            with link_lock(folder, key):
                yield
            return
        check_link_lock(folder, key)
        with explained(folder / LOCK):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def _flock(stream: FileIO, folder: Path, key: str) -> str | None:
    """Lock a file, or return why its file system cannot."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return error.strerror
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise UserError(f"{folder / LOCK}: this file system cannot lock files ({error.strerror})") from error
        stream.seek(0)
        holder = stream.read().decode(errors="replace").strip() or "another process"
        raise UserError(f"{key}: {folder} is in use by {holder}; wait for it, stop it, or use another") from None
    return None
