"""Programs that are killed with ``kill -9``, by what they have come to rather than by the clock.

A program that is started warm with `KillAt` in its environment ends itself with SIGKILL right before a file operation,
which is named by its kind: ``open prepare.work/units/H/record.json``, say, with digits and hashes left out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VARIABLE = "DANUBE_TEST_KILL_AT"
_EVENTS = {"open": 0, "os.mkdir": 0, "os.remove": 0, "os.rename": 1, "shutil.rmtree": 0}
"""Python's audit events of file operations, and which argument is the path that matters."""


@dataclass(frozen=True)
class KillAt:
    """A moment in a program's life."""

    folder: str
    """Operations below it count."""
    pattern: str | None = None
    """Of the kind of an operation; None: no kill."""
    nth: int = 1
    """Which of the operations that match."""
    kinds: str | None = None
    """A file that gets the kinds in the order in which they first come."""
    operations: str | None = None
    """A file that gets the kind of every operation of the process, in their order."""

    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}


def at_one_of(folder: Path, kinds: Sequence[str]) -> KillAt:
    """Return the first operation of any of some kinds."""
    return KillAt(str(folder), any_of(kinds))


def any_of(kinds: Sequence[str]) -> str:
    """Return a pattern for several kinds."""
    return f"(?:{'|'.join(map(re.escape, kinds))})"


def watch() -> None:
    """Have this process do what its environment says."""
    moment = KillAt(**json.loads(os.environ[VARIABLE]))
    wanted = re.compile(moment.pattern).fullmatch if moment.pattern else None
    kinds = open(moment.kinds, "w") if moment.kinds else None  # noqa: SIM115, PTH123
    operations = open(moment.operations, "w") if moment.operations else None  # noqa: SIM115, PTH123
    seen: set[str] = set()
    left, own = moment.nth, os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in _EVENTS or not isinstance(path := arguments[_EVENTS[event]], str | os.PathLike):
            return
        place = os.fspath(path)
        if not isinstance(place, str) or not place.startswith(f"{moment.folder}/"):
            return
        kind = f"{event} {re.sub(r'[0-9a-f]{16,}|[0-9]+', 'H', place[len(moment.folder) + 1 :])}"
        if kinds and kind not in seen:
            seen.add(kind)
            print(kind, file=kinds, flush=True)
        if operations and os.getpid() == own:
            print(kind, file=operations, flush=True)
        if wanted and wanted(kind):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill a program that is still at work."""
    process.kill()
    assert_killed(process)


def assert_killed(process: subprocess.Popen[Any]) -> str:
    """Wait for the end of a program, make sure that SIGKILL was it, and return what it had said."""
    _, said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, f"it was to be killed, and ended with {process.returncode}: {said}"
    return str(said)
