"""What is read ahead comes in order, not too far ahead, and the thread that reads ends with the reading."""

from __future__ import annotations

import _thread
import subprocess
import sys
import threading
import time

import pytest

from custom_modules.read_ahead import read_ahead
from tests.support.commands import environment


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
def test_in_order_and_not_too_far_ahead(ahead: int) -> None:
    read: list[int] = []

    def note(item: int) -> int:
        read.append(item)
        return item * item

    for number, square in enumerate(read_ahead(note, range(20), ahead)):
        assert square == number * number
        assert len(read) <= number + ahead + 1
    assert read == list(range(20))
    assert list(read_ahead(note, [], ahead)) == []


def test_it_reads_while_the_caller_works() -> None:
    third = threading.Event()
    items = read_ahead(lambda item: third.set() if item == 2 else None, range(5), 2)
    next(items)
    assert third.wait(timeout=60)
    items.close()


def test_an_error_comes_in_its_place() -> None:
    items = read_ahead(lambda item: 6 // item, [2, 1, 0, 3], 3)
    assert [next(items), next(items)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert list(items) == []


@pytest.mark.parametrize("ending", ["closed", "exhausted", "failed"])
def test_no_thread_is_left(ending: str) -> None:
    begun, go_on, read = threading.Event(), threading.Event(), []

    def slow(item: int) -> int:
        read.append(item)
        if ending == "closed" and item == 1:
            begun.set()
            go_on.wait(timeout=60)
        return 1 // (item - 5)

    threads = _thread._count()
    items = read_ahead(slow, range(5 if ending == "exhausted" else 20), 10)
    next(items)
    if ending == "closed":
        begun.wait(timeout=60)
        threading.Timer(0.05, go_on.set).start()
        items.close()
        assert read == [0, 1], "what was asked for and not begun is dropped"
    elif ending == "exhausted":
        list(items)
    else:
        with pytest.raises(ZeroDivisionError):
            list(items)
    until = time.monotonic() + 60
    while _thread._count() > threads:
        assert time.monotonic() < until


SHORT_OF_MEMORY = """
import os, resource, signal, threading
from custom_modules.read_ahead import read_ahead

STACK = 1 << 20
threading.stack_size(STACK)
ends = {}
for more in (*range(-65_536, 400_000, 8_192), *range(400_000, 16_000_000, 1_000_000)):
    child = os.fork()
    if not child:
        signal.alarm(20)
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + STACK + more,) * 2)
        try:
            read = len(list(read_ahead(lambda item: bytes(100_000), range(40), 40)))
        except (MemoryError, RuntimeError):
            os._exit(1)
        os._exit(0 if read == 40 else 2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ends.setdefault(code, []).append(more)
print(ends)
raise SystemExit(sorted(ends) != [0, 1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the memory of a process")
def test_a_thread_that_is_short_of_memory_leaves_nobody_waiting() -> None:
    """Whether there is none for its stack, for its first steps, or for what it reads."""
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
