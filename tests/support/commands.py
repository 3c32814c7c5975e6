"""The `danube` command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from custom_modules.platform.launch import free_port
from tests.support import warm

ROOT = warm.ROOT


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def danube_command(*arguments: str) -> list[str]:
    """Return the words of a command line, for what starts it itself."""
    return [sys.executable, "-m", "custom_modules.cli", *arguments]


def start_danube(*arguments: str, **options: Any) -> warm.Program:
    """Start the command warm, with ``subprocess.Popen``'s options; its stderr is text in a pipe."""
    given = {"env": environment(), "stderr": subprocess.PIPE, "text": True, **options}
    return warm.Program(danube_command(*arguments), **given)


def run_danube(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the command warm to its end; returns its exit code and output."""
    return warm.run(danube_command(*arguments), cwd=cwd, env=env or environment(), timeout=timeout)


def free_ports(count: int) -> list[int]:
    """Find so many different ports for processes that are started one after another."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
