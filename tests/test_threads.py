"""Calls in several threads come back in their order, whatever there is of threads and memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from custom_modules import one_thread
from custom_modules.threads import Once, in_threads
from tests.support.commands import environment


@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_in_their_order_in_so_many_threads(at_once: int) -> None:
    threads = min(at_once, 20)
    together = threading.Barrier(threads)

    def note(number: int) -> tuple[int, int]:
        if number < threads:
            together.wait(60)
        return number**2, threading.get_ident()

    found = in_threads(note, iter(range(20)), at_once)
    assert [value for value, _ in found] == [number**2 for number in range(20)]
    idents = {ident for _, ident in found}
    assert len(idents) == threads and threading.get_ident() in idents


def test_of_nothing() -> None:
    assert in_threads(int, [], 4) == []


@pytest.mark.parametrize("error", [IndexError, KeyboardInterrupt, MemoryError])
def test_the_first_error_is_told_and_nothing_is_begun_after_it(error: type[BaseException]) -> None:
    both = threading.Barrier(2)
    begun = []

    def fail(number: int) -> None:
        begun.append(number)
        if number < 2:
            both.wait(60)
            raise error(number)

    with pytest.raises(error, match="0"):
        in_threads(fail, range(10_000), 2)
    assert len(begun) < 10_000


def test_all_are_made_here_where_no_thread_can_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(one_thread._thread, "start_new_thread", refuse)
    assert set(in_threads(lambda _: threading.get_ident(), range(10), 4)) == {threading.get_ident()}


def test_once() -> None:
    numbers = iter(range(4))
    together = threading.Barrier(4)
    once = Once(lambda: next(numbers))

    def ask(_: int) -> int:
        together.wait(60)
        return once()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [0] * 4


SHORT_OF_MEMORY = """
import os, resource, signal, threading
from custom_modules.threads import in_threads

STACK = 1 << 20
threading.stack_size(STACK)
ends = {}
for threads in range(4):
    for more in (*range(-65_536, 300_000, 8_192), 10_000_000):
        child = os.fork()
        if not child:
            signal.alarm(20)
            size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + threads * STACK + more,) * 2)
            try:
                made = sum(in_threads(lambda item: len(bytes(50_000)), range(40), 4))
            except MemoryError:
                os._exit(1)
            os._exit(0 if made == 40 * 50_000 else 2)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ends.setdefault(code, []).append((threads, more))
print(ends)
raise SystemExit(sorted(ends) not in ([0], [0, 1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the memory of a process")
def test_threads_that_are_short_of_memory_leave_nobody_waiting() -> None:
    """Whether there is none for the stack of one of them, for its first steps, or for a call."""
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
