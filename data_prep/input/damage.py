"""How it is told that a file cannot be read."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.text import spelled
from data_prep.input.content import HEAD_BYTES
from data_prep.input.documents import Damage

EMPTY = "it is empty (0 bytes)"
_OF_ZLIB = re.compile(r"^Error -?\d+ while decompressing data: ")
_OF_THE_PROCESS = {errno.EMFILE: "raise `ulimit -n`", errno.ENFILE: "close others' files", errno.ENOMEM: "make room"}
_MEANINGS = {
    errno.ENOENT: "there is no such file any more",
    errno.ELOOP: "it is a link that leads back to itself",
}


def unreadable(path: str | Path, error: OSError) -> Damage:
    """Word what the system says of a file that it does not let one read.

    Raises:
        UserError: it is not the file's fault.
    """
    if error.errno in _OF_THE_PROCESS:
        raise UserError(f"{spelled(path)}: {error.strerror}; {_OF_THE_PROCESS[error.errno]}") from error
    reason = said(error) if error.errno is None else _MEANINGS.get(error.errno) or os.strerror(error.errno)
    return Damage(f"cannot be read ({reason})")


def said(error: Exception) -> str:
    """Return what a library says of a damage, as one printable line."""
    printable = "".join(letter if letter.isprintable() else " " for letter in str(error))
    return _OF_ZLIB.sub("", " ".join(printable.split()))


def head_of(path: str | Path) -> bytes:
    """Return how a file begins, `HEAD_BYTES` at most.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb", buffering=0) as file:
        return file.read(HEAD_BYTES)
