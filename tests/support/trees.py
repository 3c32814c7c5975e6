"""A copy of the program to change, and its command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_program(tree: Path) -> Path:
    """Copy the packages of the program into a folder; returns it."""
    for package in ("custom_modules", "data_prep", "nemo_configs"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def run_copy(tree: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    """Run the command of that copy in a folder, and expect its exit code; returns all that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "custom_modules.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done.stdout + done.stderr
