"""A pool of spawned processes that ends with its parent, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, TypeVar

from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.files import explained

Result = TypeVar("Result")

_SEMAPHORES = Path("/dev/shm")
"""Where the system keeps what the processes of a pool wait for each other with."""
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
        with explained(_SEMAPHORES):
            self._executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _initialize)

    def run(self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        """Do what `Pool.run` says."""
        with _signals_wait():
            futures = {self._executor.submit(function, *one): index for index, one in enumerate(calls)}
        return self._results(futures)

    def _results(self, futures: dict[Future[Result], int]) -> Iterator[tuple[int, Result]]:
        for future in as_completed(futures):
            try:
                result = future.result()
            except BrokenProcessPool:
                raise UserError(
                    "a worker process was killed, as happens when memory runs out; use fewer data.workers or smaller "
                    "data.shard_bytes, and the same command goes on from the last finished piece"
                ) from None
            yield futures.pop(future), result

    def warm_up(self, function: Callable[..., object], *arguments: object) -> None:
        """Do what `Pool.warm_up` says. Nothing hears of it if the function fails."""
        with _signals_wait():
            for _ in range(self._count):
                self._executor.submit(function, *arguments)

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


def _initialize() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TQDM_DISABLE"] = "1"  # for libraries: what we say comes from the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()


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

    before = {each: signal.signal(each, stop) for each in _STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
