"""NVIDIA's driver and the GPUs it lists, without torch."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from custom_modules.programs import ask

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Driver:
    """NVIDIA's kernel driver."""

    version: str | None
    gpus: tuple[str, ...]
    """The names that nvidia-smi lists."""
    problem: str | None
    """Why nvidia-smi says nothing; None if it answers or is not there."""


def find_driver(timeout: float) -> Driver:
    """Look for the kernel module, and ask nvidia-smi."""
    version = None
    if DRIVER.is_file():
        named = re.search(r"Kernel Module\D*([\d.]+)", DRIVER.read_text())
        version = named[1] if named else "of an unknown version"
    if shutil.which("nvidia-smi") is None:
        return Driver(version, (), None)
    answer = ask(["nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader"], timeout)
    if answer.problem:
        return Driver(version, (), answer.problem)
    rows = [line.split(", ", 1) for line in answer.output.splitlines() if ", " in line]
    return Driver(version or (rows[0][0] if rows else None), tuple(name for _, name in rows), None)
