"""Calls that several threads make, this one among them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar, cast

from custom_modules.one_thread import Answer, OneThread

T = TypeVar("T")
R = TypeVar("R")

MANY = min(32, (os.cpu_count() or 1) + 4)
"""Threads for calls that wait for something else for most of their time."""


def in_threads(call: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
    """Make a call of each item, and return what they return, in the items' order.

    The pools of `concurrent.futures` fail where the system has no memory for one more thread, or wait for ever for one
    whose first steps had none. Here such a thread is one less: this one makes the calls that are left, or all.

    Args:
        at_once: calls that are made at a time, at most.

    Raises:
        BaseException: what the first call in the items' order that failed has raised. Those under way come to their
            end, no other begins.
        MemoryError: a thread ended in the middle of a call.
    """
    calls = _Calls(call, items)
    others: list[Answer[None]] = []
    try:
        with suppress(RuntimeError, MemoryError):
            while len(others) + 1 < min(at_once, calls.left):
                others.append(OneThread.for_one(calls.make))
        calls.make()
    finally:
        calls.forget()
        for other in others:
            other.wait()
    return calls.returned()


class _Calls(Generic[T, R]):
    """Calls to make, of which each thread takes the next."""

    def __init__(self, call: Callable[[T], R], items: Iterable[T]) -> None:
        self._call = call
        self._left = deque(enumerate(items))
        # A place for everything: that a call is made is told without any more memory.
        self._values: list[R | None] = [None] * len(self._left)
        self._errors: list[BaseException | None] = [None] * len(self._left)
        self._is_made = bytearray(len(self._left))

    @property
    def left(self) -> int:
        return len(self._left)

    def make(self) -> None:
        """Make calls until all are made or one has failed."""
        with suppress(IndexError):
            while True:
                self._make(*self._left.popleft())

    def _make(self, place: int, item: T) -> None:
        try:
            self._values[place] = self._call(item)
        except BaseException as error:
            self._errors[place] = error
            self.forget()
        self._is_made[place] = True

    def forget(self) -> None:
        """Begin no more calls."""
        self._left.clear()

    def returned(self) -> list[R]:
        """Return what all calls have returned; raises what the first of those that failed has."""
        for error, is_made in zip(self._errors, self._is_made, strict=True):
            if error is not None:
                raise error
            if not is_made:
                raise MemoryError("a thread had no memory to go on with")
        return cast("list[R]", self._values)


class Once(Generic[R]):
    """What a call returns, which the first thread that needs it makes while others wait for it."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._call = call
        self._found: list[R] = []
        self._lock = Lock()

    def __call__(self) -> R:
        with self._lock:
            if not self._found:
                self._found.append(self._call())
            return self._found[0]
