"""Why an environment cannot be made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from custom_modules.errors import UserError


class CannotBeMadeError(UserError):
    """This machine lacks something that an environment needs, in one line."""


def succeed(command: Iterable[object], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end; returns its output.

    Raises:
        CannotBeMadeError: with the last lines that it said.
    """
    words = list(map(str, command))
    try:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    except OSError as error:
        raise CannotBeMadeError(f"{words[0]}: {error.strerror or error}; install it") from error
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        wrong = [line for line in said if "error" in line.lower()] or said
        raise CannotBeMadeError(f"{' '.join(words[:6])} ...: {' '.join(wrong[:2]) or done.returncode}")
    return done.stdout
