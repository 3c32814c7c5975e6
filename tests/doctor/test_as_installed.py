"""Constraints that keep an image's packages."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_there_stays_and_what_is_lacking_comes_as_pinned(tmp_path: Path) -> None:
    """Names are compared as pip does; a marker goes with the version that it was for."""
    given = tmp_path / "constraints.txt"
    given.write_text(
        "# a note\nTorch==1.0\npydantic_core==1.0 ; python_full_version < '3.12'\n"
        "pydantic_core==2.0 ; python_full_version >= '3.12'\nno-such-package==3.0 ; sys_platform == 'linux'\n"
    )
    command = [sys.executable, "-m", "custom_modules.doctor.as_installed", str(given)]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == [
        "# a note",
        f"Torch==={metadata.version('torch')}",
        f"pydantic_core==={metadata.version('pydantic_core')}",
        "no-such-package==3.0 ; sys_platform == 'linux'",
    ]


def test_the_image_copies_what_it_installs_from() -> None:
    """Every folder of the package, and what `pyproject.toml` names beside it, past `.dockerignore`."""
    copied = set(re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert names == let_in
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "custom_modules", "data_prep"} <= names
    assert "nemo_configs" in names and all((ROOT / name).exists() for name in names)
