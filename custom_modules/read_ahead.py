"""Reading in a thread what will be needed next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from custom_modules.one_thread import Answer, OneThread

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(read: Callable[[T], R], items: Iterable[T], ahead: int) -> Generator[R, None, None]:
    """Read items in order, in a thread that is up to ``ahead`` of them before the caller.

    What ``read`` raises is raised here, where its item would have come, and a MemoryError where there was none left for
    the thread. Closing the generator ends the thread, after the item that it is at.
    """
    reader = OneThread()
    try:
        coming: deque[Answer[R]] = deque()
        for item in items:
            coming.append(reader.submit(read, item))
            if len(coming) > ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        reader.end(forget=True)
