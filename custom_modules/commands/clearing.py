"""Stops that let a command clear away what it has written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def clearing_away() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command as exceptions that clear away what was written so far.

    Where one meets a library in its own clean-up, another error may take its place: after a stop it is the stop again.
    The handlers are not given back: a stop that comes once all is done ends the process as one that comes before.
    """
    stops: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise stops[-1]

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        yield
    except Exception as error:
        if stops:
            raise stops[0] from error
        raise
