"""Calls are made in their order, in one thread, and what they raise is told."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from custom_modules.one_thread import OneThread
from tests.support.commands import environment


def test_in_order_and_in_one_other_thread() -> None:
    made: list[int] = []
    thread = OneThread()

    def note(number: int) -> int:
        made.append(number)
        return threading.get_ident()

    idents = [thread.submit(note, number) for number in range(50)]
    assert len({answer.result() for answer in idents}) == 1
    assert idents[0].result() == idents[0].result() != threading.get_ident()
    thread.end()
    assert made == list(range(50))
    assert thread.submit(sum, [1, 2]).result() == 3, "it begins again"
    thread.end()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, MemoryError])
def test_an_error_of_any_kind_is_told_and_ends_nothing(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with OneThread() as thread:
        failed, after = thread.submit(fail), thread.submit(int, "7")
        for _ in range(2):
            with pytest.raises(error):
                failed.result()
        assert after.result() == 7


def test_all_that_was_asked_for_is_done_in_the_end_or_forgotten() -> None:
    for forget in (False, True):
        go_on = threading.Event()
        made: list[int] = []
        thread = OneThread()
        thread.submit(go_on.wait, 60)
        for number in range(3):
            thread.submit(made.append, number)
        threading.Timer(0.05, go_on.set).start()
        thread.end(forget)
        assert made == ([] if forget else [0, 1, 2])


def test_a_thread_does_not_wait_for_itself() -> None:
    """Whatever is collected as garbage may end it, in any thread."""
    thread = OneThread()
    thread.submit(thread.end).wait()
    assert thread.submit(int, "7").result() == 7
    thread.end()


PROGRAM = """
import sys, threading, time
from custom_modules.one_thread import OneThread

go_on = threading.Event()
if sys.argv[1] == "awaited":
    thread, begun = OneThread(), threading.Event()
    thread.submit(lambda: (begun.set(), go_on.wait(60)))
    begun.wait()
    thread.submit(print, "never begun")
    def go_on_behind_the_end():
        threading.main_thread().join()
        time.sleep(1)
        print("made")
        go_on.set()
    threading.Thread(target=go_on_behind_the_end, daemon=True).start()
else:
    OneThread.for_one(go_on.wait, 600)
"""


@pytest.mark.parametrize(("kind", "said"), [("awaited", "made\n"), ("not awaited", "")])
def test_the_end_of_the_program(kind: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, env=environment(), timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
