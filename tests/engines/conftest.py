"""Runs that pass between the two versions of megatron-core, each in the environment of its Python."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import environment

ROOT = Path(__file__).resolve().parents[2]
OTHER = "DANUBE_OTHER_PYTHON"
"""Where the other environment's Python is."""


@pytest.fixture(scope="session")
def other_danube() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command under the other Python to its end; returns its exit code and output."""
    python = os.environ.get(OTHER)
    if python is None:
        pytest.skip(f"{OTHER} is not set: `make test-engines` makes the other environment and sets it")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "custom_modules.cli", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)

    return run
