"""Handlers of signals for as long as something lasts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def handling(
    signals: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[dict[signal.Signals, Any]]:
    """Have signals call a handler, and give each the one back that it had. Only in the main thread.

    Yields:
        The handlers from before, to be given back: a process that is forked meanwhile takes out those that it has
        replaced itself.
    """
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
