"""Programs that have so long, with all they say in a log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from custom_modules.platform.launch import LAUNCHER

GRACE = 5.0
"""Seconds from being asked to end to being ended."""
POLL = 0.1


class OutOfTime(Exception):
    """A part's time is over; what it had started has ended."""


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    code: int
    output: str
    log: str
    """What it said on stderr."""


class Commands:
    """Starts programs, one at a time, in a folder.

    They end with this process: by their launcher's death, where it is killed.

    Args:
        cwd: where they run.
        environment: theirs.
    """

    def __init__(self, cwd: Path, environment: Mapping[str, str]) -> None:
        self.cwd = cwd
        self.environment = {**environment, LAUNCHER: str(os.getpid())}
        self.until = float("inf")
        """When time is up, by `time.monotonic`."""
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, command: Sequence[str], log: Path, stop_at: str | None = None) -> Done:
        """Run a program to its end.

        Args:
            log: gets its stderr, and ``.out`` beside it its stdout.
            stop_at: a pattern; when its stderr has it, the program gets a SIGTERM.

        Raises:
            OutOfTime: it did not end in time.
        """
        output = log.with_suffix(".out")
        log.parent.mkdir(parents=True, exist_ok=True)
        with output.open("wb") as out, log.open("wb") as err:
            process = subprocess.Popen(
                command,
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._running = process
        try:
            while process.poll() is None:
                if time.monotonic() > self.until:
                    raise OutOfTime
                if stop_at and re.search(stop_at, log.read_text(errors="replace")):
                    process.send_signal(signal.SIGTERM)
                    stop_at = None
                time.sleep(POLL)
        finally:
            self.end()
        return Done(process.returncode, output.read_text(errors="replace"), log.read_text(errors="replace"))

    def end(self) -> None:
        """End what runs: asked first, so that it ends what it has started itself."""
        process, self._running = self._running, None
        if process is None or process.poll() is not None:
            return
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return
