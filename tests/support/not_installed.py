"""A Python that has what this project needs, and not the project itself: what a container's image has."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path


def make_python(folder: Path) -> Path:
    """Make a virtual environment of links to the packages of this one; returns its ``bin``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for place in {sysconfig.get_path(name) for name in ("purelib", "platlib")}:
        for package in Path(place).iterdir():
            ours = "danube" in package.name or package.suffix == ".pth"
            if not ours and not (packages / package.name).exists():
                (packages / package.name).symlink_to(package)
    return folder / "bin"
