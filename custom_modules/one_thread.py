"""One thread beside this one, whose end is told to whoever waits for it."""

from __future__ import annotations

import _thread
import atexit
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

R = TypeVar("R")

_LOOK_EVERY = 0.5
"""Seconds between two looks at whether a thread that something is awaited from is still there."""


class Answer(Generic[R]):
    """What a call returns, or raises."""

    def __init__(self, maker: OneThread, call: Callable[..., R], arguments: tuple[Any, ...]) -> None:
        self._maker, self._call, self._arguments = maker, call, arguments
        self._value: Any = None
        self._error: BaseException | None = None
        self._pending = _thread.allocate_lock()
        self._pending.acquire()

    def result(self) -> R:
        """Wait for it.

        Raises:
            BaseException: what the call raised.
            MemoryError: the thread ended before it was done.
        """
        if not self.wait():
            raise MemoryError("a thread had no memory to begin or to go on with")
        if self._error is not None:
            raise self._error
        value: R = self._value
        return value

    def wait(self) -> bool:
        """Return when it is there; False: it will never be."""
        while not self._pending.acquire(timeout=_LOOK_EVERY):
            if not self._maker.is_alive and not self._pending.acquire(blocking=False):
                return False
        self._pending.release()
        return True

    def make(self) -> None:
        """Make the call. Telling that it is made takes no memory."""
        try:
            self._value = self._call(*self._arguments)
        except BaseException as error:
            self._error = error
        self._pending.release()


class OneThread:
    """Makes calls in the order they come, in a thread that begins with the first.

    Those of `threading` and `concurrent.futures` leave whoever starts one, or awaits something of it, waiting for ever
    where there is no memory for the thread's first steps, or for telling that a call is made.
    """

    def __init__(self) -> None:
        self._is_awaited = True
        self._calls: SimpleQueue[Answer[Any] | None] = SimpleQueue()
        self._ident = 0
        self._sign: weakref.ref[_SignOfLife] | None = None

    @classmethod
    def for_one(cls, call: Callable[..., R], *arguments: Any) -> Answer[R]:
        """Have a single call made, which the end of the program does not wait for.

        Raises:
            RuntimeError: as `submit`.
        """
        maker = cls()
        maker._is_awaited = False
        answer = maker.submit(call, *arguments)
        maker._calls.put(None)
        return answer

    def __enter__(self) -> OneThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_alive(self) -> bool:
        return self._sign is not None and self._sign() is not None

    def submit(self, call: Callable[..., R], *arguments: Any) -> Answer[R]:
        """Have a call made.

        Raises:
            RuntimeError: no thread can begin.
        """
        answer = Answer(self, call, arguments)
        if self._sign is None:
            sign = _SignOfLife()
            seen = weakref.ref(sign)
            if self._is_awaited:
                atexit.register(self.end, forget=True)
            self._ident = _thread.start_new_thread(_make_calls, (self._calls, sign))
            self._sign = seen
            del sign
        self._calls.put(answer)
        return answer

    def end(self, forget: bool = False) -> None:
        """Wait until the thread is about to end: after the call that it is at, or after all; itself does not wait.

        Args:
            forget: do not make the calls that are not begun.
        """
        if self._sign is None:
            return
        atexit.unregister(self.end)
        if forget:
            with suppress(Empty):
                while True:
                    self._calls.get_nowait()
        last = self.submit(bool)
        self._calls.put(None)
        if _thread.get_ident() != self._ident:
            last.wait()
        self._sign = None


class _SignOfLife:
    """A thread alone holds it: however that ends, this is gone, and what refers to it weakly tells."""


def _make_calls(calls: SimpleQueue[Answer[Any] | None], sign: _SignOfLife) -> None:
    try:
        while (answer := calls.get()) is not None:
            answer.make()
            del answer  # what it holds is not kept until the next one comes
    finally:
        del sign  # an error that a call has raised keeps this frame
