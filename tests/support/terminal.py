"""The `danube` command at a real terminal, warm."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
import time
from pathlib import Path
from types import TracebackType

from tests.support import warm
from tests.support.commands import environment

_MAIN = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from custom_modules.cli import main; sys.exit(main())"
)
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """A pseudo-terminal that controls a command: Ctrl-C typed there is a signal."""

    def __init__(self, *words: str, seconds: float = 120) -> None:
        self._master, slave = pty.openpty()
        self._deadline = time.monotonic() + seconds
        env = {**environment(), "TERM": "dumb"}
        self.process = warm.Program(
            [sys.executable, "-c", _MAIN, *words], env=env, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt_prompt(self) -> None:
        """Type Ctrl-C once the command sleeps, as it does at its prompt.

        Python's readline shows a prompt and then waits for keys: a signal in between is only noticed at the next key.
        """
        while self.process.poll() is None and "(sleeping)" not in self._status():
            time.sleep(0.01)
        self.type(CTRL_C)

    def _status(self) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:  # ended, or no Linux
            return "(sleeping)"

    def wait_for(self, pattern: str) -> str:
        """Read on until a pattern is shown; returns what was shown up to its end, and forgets it."""
        while (found := re.search(pattern, self.shown)) is None:
            assert self._read(), f"{pattern!r} was not shown, but {self.shown!r}"
        shown, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return shown

    def wait(self) -> int:
        """Read to the end; returns the exit code."""
        while self._read():
            continue
        return self.process.wait(30)

    def _read(self) -> bool:
        left = self._deadline - time.monotonic()
        readable, _, _ = select.select([self._master], [], [], max(0.0, left))
        assert readable, f"the time is up, and this was shown: {self.shown!r}"
        try:
            text = os.read(self._master, 65536)
        except OSError:  # Linux says so where the other end is closed
            return False
        self.shown += text.decode(errors="replace").replace("\r\n", "\n")
        return bool(text)
