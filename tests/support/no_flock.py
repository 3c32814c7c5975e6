"""A file system without flock, such as a Lustre that is mounted without it: the system call says so in a warm program.

`VARIABLE` in a program's environment, with an ``errno``'s name, has `tests.support.warm_server` see to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from itertools import cycle
from typing import Any

VARIABLE = "DANUBE_TEST_NO_FLOCK"


def by_turns() -> Iterator[dict[str, str]]:
    """Give environments without end: with flock, without, with, ..."""
    return cycle(({}, {VARIABLE: "ENOSYS"}))


def refuse() -> None:
    """Have every flock of this process fail as its environment says."""
    number = getattr(errno, os.environ[VARIABLE])

    def flock(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock
