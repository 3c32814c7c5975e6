"""Standard streams that a shell has closed (``2>&-``), and what is said on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from custom_modules.errors import UserError, exit_code

_STREAMS = ("stdin", "stdout", "stderr")
"""By their descriptors."""


def open_closed_streams() -> None:
    """Put the null device in the place of every closed one, for this process and those that it starts.

    Else the next file that is opened has its number, so that what a library says on stderr is written into that file;
    and ``print`` takes stdout where there is no ``sys.stderr``.
    """
    for number, name in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if not _is_open(number):
                os.dup2(null, number)
                os.close(null)
                null = number
            elif null == number:
                os.set_inheritable(number, True)
            setattr(sys, name, open(null, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def complain(message: object) -> None:
    """A command's last line on stderr; where that cannot be written the exit code still tells."""
    with suppress(OSError):
        print(f"danube: {message}", file=sys.stderr, flush=True)


def finished(work: Callable[[], object]) -> int:
    """Do the work of a module that is run by itself, and return its exit code; a mistake is said in a line."""
    try:
        work()
    except UserError as error:
        complain(error)
        return exit_code(error)
    return 0


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
