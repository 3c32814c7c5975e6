"""The guard that every program of the null GPU runs under."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from tests.null_gpu.guard import ENDED, run_guarded

GROW = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; kept = bytearray(b'1' * 10**9); time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_program_whose_child_grows_is_ended_with_it() -> None:
    ended = run_guarded([sys.executable, "-c", GROW], limit_bytes=2e8, seconds=50)
    assert ended.code == ENDED
    assert "guard: ended with" in ended.stderr
    assert ended.peak_bytes > 2e8
    assert _is_gone(int(ended.stdout))


WORK = "for _ in iter(int, 1): pass"
WAIT = "import time; time.sleep(600)"
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.parametrize("words", [[WORK], [PARENT, WORK]])
def test_a_program_that_works_for_too_long_is_ended(words: list[str]) -> None:
    ended = run_guarded([sys.executable, "-c", *words], limit_bytes=1e9, seconds=1)
    assert ended.code == ENDED and "s of CPU" in ended.stderr


def test_a_program_that_waits_for_ever_is_ended() -> None:
    ended = run_guarded([sys.executable, "-c", WAIT], limit_bytes=1e9, seconds=600, idle=0.5)
    assert ended.code == ENDED and "guard: ended" in ended.stderr


def test_waiting_is_no_work() -> None:
    ended = run_guarded([sys.executable, "-c", "import time; time.sleep(2)"], limit_bytes=1e9, seconds=1.5)
    assert (ended.code, ended.stderr) == (0, "")


def test_one_that_does_neither_has_its_own_code_and_output() -> None:
    command = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]
    ended = run_guarded(command, limit_bytes=1e9, seconds=50)
    assert (ended.code, ended.stdout, ended.stderr) == (3, "out\n", "err\n")


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False
