"""Stops that let a command clear away what it has written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from custom_modules.signal_handlers import handling


@contextmanager
def clearing_away() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command as exceptions that clear away what was written so far.

    Where one meets a library in its own clean-up, another error may take its place: after a stop it is the stop again.
    """
    stops: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise stops[-1]

    with handling((signal.SIGINT, signal.SIGTERM), stop):
        try:
            yield
        except Exception as error:
            if stops:
                raise stops[0] from error
            raise
