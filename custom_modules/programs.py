"""Other programs, asked with a time limit: what they print, or why there is nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What a program said."""

    output: str
    problem: str | None = None
    """Why the output is not to be relied on, in one line; None if the program ended well."""


def ask(command: Sequence[str], timeout: float) -> Answer:
    """Run a program to its end, with nothing on stdin.

    Args:
        timeout: seconds; then it is killed with all that it started, and not waited for: a process that hangs in a
            driver or a network file system outlives even that.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Answer("", f"cannot be started ({error.strerror})")
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.5)
        return Answer("", f"no answer in {timeout:g} s")
    if process.returncode == 0:
        return Answer(output)
    said = (errors.strip() or output.strip()).splitlines()
    ended = (
        f"ended by {signal.Signals(-process.returncode).name}"
        if process.returncode < 0
        else f"exit code {process.returncode}"
    )
    return Answer(output, f"{said[-1].strip()} ({ended})" if said else ended)


def import_problem(module: str, timeout: float) -> str | None:
    """Import a module in a process of its own, which it may bring down.

    Args:
        module: its name, behind those that have to be there before, with commas between.

    Returns:
        The last line of what went wrong; None if nothing did.
    """
    return ask([sys.executable, "-c", f"import {module}"], timeout).problem
