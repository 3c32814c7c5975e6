"""Work in several threads that are left behind when the process has to end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Job = TypeVar("Job")


def in_threads(jobs: Iterable[Job], work: Callable[[Job], None], count: int, stop: threading.Event) -> None:
    """Do all jobs in so many threads, in their order; returns when all threads have ended.

    After the first failure no job is begun any more, and those that are under way are waited for. A signal's exception
    leaves this function at once.

    Args:
        stop: set at the end, and at a failure, for `work` to look at.

    Raises:
        BaseException: the first that a job has raised.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            while not stop.is_set():
                work(waiting.get_nowait())
        except queue.Empty:
            ended.put(None)
        except BaseException as error:
            ended.put(error)  # before the others stop, and say so
            stop.set()
        else:
            ended.put(None)

    try:
        # Daemons: an answer that takes minutes does not hold up the end of the process.
        threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        failures = [error for error in (ended.get() for _ in threads) if error is not None]
    finally:
        stop.set()
    if failures:
        raise failures[0]
