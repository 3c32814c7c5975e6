"""How far a pass is, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class ProgressBar:
    """Counts bytes of a known total.

    Args:
        title: what is being done.
        total: bytes in all.
        done: bytes that an earlier run has done.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            desc=title, total=total, initial=done, unit="B", unit_scale=True, leave=False, disable=not self._terminal
        )
        self._title, self._total, self._done, self._before = title, total, done, done
        self._started = self._said = time.monotonic()

    def add(self, amount: int) -> None:
        self._done += amount
        self._bar.update(amount)
        now = time.monotonic()
        if not self._terminal and now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            rate = (self._done - self._before) / (now - self._started)
            say(
                f"{self._title}: {self._done / 1e6:,.0f} of {self._total / 1e6:,.0f} MB, {rate / 1e6:.1f} MB/s, "
                f"{(self._total - self._done) / max(rate, 1):,.0f} s left"
            )

    def close(self) -> None:
        self._bar.close()


def count(number: int, noun: str) -> str:
    """Word a number of things: ``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def say(line: str) -> None:
    """Print a line for people on stderr; a log that cannot be written, as on a full disk, stops nothing."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
