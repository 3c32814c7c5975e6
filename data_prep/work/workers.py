"""A pool of spawned processes that ends with its parent, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, TypeVar

from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.files import explained
from custom_modules.one_thread import OneThread
from custom_modules.signal_handlers import handling

Result = TypeVar("Result")

_SEMAPHORES = Path("/dev/shm")
"""Where the system keeps what the processes of a pool wait for each other with."""
_PATIENCE = 2.0
"""Seconds until the system tells how a process ended."""
_GOES_ON = "and the same command goes on from the last finished piece"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Pool(Protocol):
    """Calls module-level functions somewhere else."""

    def run(self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        """Call a function once for each tuple of arguments, from now on; yield results with their index as they come.

        Raises:
            UserError: while it yields: a process was killed, or whatever the function raises.
        """
        ...

    def warm_up(self, function: Callable[..., object], *arguments: object) -> None:
        """Let the processes that there will be call a function while the parent does something else."""


class Workers:
    """Processes to run module-level functions in. As a context manager, an exception kills them at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._others = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        with explained(_SEMAPHORES):
            self._has_begun = context.Event()
            self._executor = ProcessPoolExecutor(count, context, _initialize, (self._has_begun,))
        self._processes: set[multiprocessing.process.BaseProcess] = set()

    def run(self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        """Do what `Pool.run` says."""
        try:
            with _signals_wait():
                futures = {self._executor.submit(function, *one): index for index, one in enumerate(calls)}
        except BrokenProcessPool:
            raise self._ended() from None
        self._note_processes()
        return self._results(futures)

    def _results(self, futures: dict[Future[Result], int]) -> Iterator[tuple[int, Result]]:
        for future in as_completed(futures):
            try:
                result = future.result()
            except BrokenProcessPool:
                raise self._ended() from None
            yield futures.pop(future), result

    def warm_up(self, function: Callable[..., object], *arguments: object) -> None:
        """Do what `Pool.warm_up` says. Nothing hears of it if the function fails."""
        with _signals_wait():
            for _ in range(self._count):
                self._executor.submit(function, *arguments)
        self._note_processes()

    def _note_processes(self) -> None:
        self._processes |= set(multiprocessing.active_children()) - self._others

    def _ended(self) -> UserError:
        """Say how a process ended that should not have."""
        patience = time.monotonic() + _PATIENCE
        while not (codes := [process.exitcode for process in self._processes if process.exitcode is not None]):
            if time.monotonic() > patience:
                break
            time.sleep(0.05)
        # The pool ends the others by SIGTERM.
        code = min(codes, key=lambda code: (code == -signal.SIGTERM, code), default=-signal.SIGKILL)
        if code == -signal.SIGKILL:
            return UserError(
                "a worker process was killed, as happens when memory runs out; use fewer data.workers or smaller "
                f"data.shard_bytes, {_GOES_ON}"
            )
        if code < 0:
            return UserError(f"a worker process was ended by {signal.Signals(-code).name}; see to that, {_GOES_ON}")
        if self._has_begun.is_set():
            return UserError(f"a worker process ended with exit code {code}, for what it says above; {_GOES_ON[4:]}")
        program = getattr(sys.modules["__main__"], "__file__", None) or "the main program"
        return UserError(
            f"a worker process ended with exit code {code} as it began, when it ran {program} once more, for what it "
            "says above; a script of your own must be a file, with `if __name__ == '__main__':` before what starts work"
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in set(multiprocessing.active_children()) - self._others:
                process.kill()
        self._executor.shutdown(cancel_futures=True)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold signals back while workers start: they inherit the mask, so only the parent reacts to Ctrl-C and SIGTERM."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def import_for_tokenizing() -> None:
    """What takes a worker long to import."""
    for name in ("data_prep.tokenize.tokenize_shard", "gigatoken"):
        with suppress(ImportError):
            import_module(name)


def _initialize(has_begun: Event) -> None:
    has_begun.set()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TQDM_DISABLE"] = "1"  # for libraries: what we say comes from the parent
    OneThread.for_one(_end_with_parent)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into an exception, and ignore more of them while it cleans up.

    Raises:
        StoppedBySignal: in the main thread, where a signal finds it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in _STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise StoppedBySignal(
            f"{signal.Signals(number).name}: stopped; the same command goes on from the last finished piece"
        )

    with handling(_STOP_SIGNALS, stop):
        yield
