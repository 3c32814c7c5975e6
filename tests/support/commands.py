"""The `danube` command as a subprocess."""

from __future__ import annotations

import os
import sys


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def danube_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "custom_modules.cli", *arguments]
