"""Ends a program that grows. Values mean nothing on the null GPU, and a length that is one of them may be anything."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

ENDED = 137
"""The code of a program that was ended."""
INTERVAL = 0.2
"""Seconds between two looks."""
IDLE = 300.0
"""Seconds in which a program that waits for something that never comes takes none of CPU, and one at work does."""
AT_WORK = 0.5
"""Seconds of CPU that one at work takes in that time, however busy the machine is."""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str
    peak_bytes: int
    """The most resident memory that it and its children had together."""
    seconds: float

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def run_guarded(
    command: Sequence[str],
    limit_bytes: float,
    seconds: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    idle: float = IDLE,
) -> Ended:
    """Run a program to its end, or until it has more memory than allowed, has worked for too long, or waits for ever.

    Args:
        limit_bytes: of resident memory, with its children's.
        seconds: of CPU, with its children's: what it does alone counts, not what else the machine does.
        idle: seconds on the clock in which it has to take `AT_WORK` of them.
    """
    begun, peak, taken = time.monotonic(), 0, 0.0
    noted, since = 0.0, begun
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        with subprocess.Popen(
            command, env=env, cwd=cwd, stdout=stdout, stderr=stderr, start_new_session=True
        ) as program:
            try:
                while program.poll() is None:
                    family = _family(program.pid)
                    now, taken = _resident(family), max(taken, _cpu(family))
                    peak, at = max(peak, now), time.monotonic()
                    if taken - noted > AT_WORK:
                        noted, since = taken, at
                    if now > limit_bytes or taken > seconds or at - since > idle:
                        spent = f"{taken:.0f} s of CPU in {at - begun:.0f} s"
                        stderr.write(f"guard: ended with {now / 1e9:.1f} GB after {spent}\n")
                        stderr.flush()
                        break
                    with suppress(subprocess.TimeoutExpired):
                        program.wait(INTERVAL)
            finally:
                was_ended = program.poll() is None
                _kill(program.pid)
        code = ENDED if was_ended else program.returncode
        return Ended(code, _read(stdout), _read(stderr), peak, time.monotonic() - begun)


def _family(pid: int) -> list[psutil.Process]:
    try:
        program = psutil.Process(pid)
        return [*program.children(recursive=True), program]
    except psutil.NoSuchProcess:
        return []


def _resident(family: Sequence[psutil.Process]) -> int:
    total = 0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def _cpu(family: Sequence[psutil.Process]) -> float:
    """Return seconds, of those that have ended too."""
    total = 0.0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def _kill(pid: int) -> None:
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _read(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read()


def main(arguments: list[str]) -> int:
    """``python -m tests.null_gpu.guard GIGABYTES SECONDS COMMAND ...``."""
    gigabytes, seconds, *command = arguments
    ended = run_guarded(command, float(gigabytes) * 1e9, float(seconds))
    sys.stdout.write(ended.stdout)
    sys.stderr.write(f"{ended.stderr}guard: {ended.code}, {ended.peak_bytes / 1e9:.1f} GB, {ended.seconds:.0f} s\n")
    return ended.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
