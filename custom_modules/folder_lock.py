"""One process per folder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import explained

LOCK = ".danube.lock"
OLD_LOCK = ".lock"
"""The name in versions before 0.2."""


@contextmanager
def folder_lock(folder: Path, key: str) -> Iterator[None]:
    """Hold a folder until the context or the process ends, however it ends.

    Args:
        folder: made if it is not there.
        key: the config key that chose the folder, for the message.

    Raises:
        UserError: another process holds it, or the file system cannot lock.
    """
    with explained(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("ab+", buffering=0)
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"{stream.name}: this file system cannot lock files ({error.strerror})") from None
            stream.seek(0)
            holder = stream.read().decode(errors="replace").strip() or "another process"
            raise UserError(f"{key}: {folder} is in use by {holder}; wait for it, stop it, or use another") from None
        with explained(folder / LOCK):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
