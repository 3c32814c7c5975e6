"""Constraints that keep what is installed: ``python3 -m custom_modules.doctor.as_installed constraints.txt``.

For an image whose packages fit one another: what it has stays, and only what it lacks comes at the version of the file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_PINNED = re.compile(r"([A-Za-z0-9._-]+)\s*==")


def as_installed(lines: list[str]) -> Iterator[str]:
    """Give the lines of a file of constraints, with the versions that are here in the place of others."""
    here = {_canonical(package.metadata["Name"]): package.version for package in metadata.distributions()}
    for line in lines:
        pinned = _PINNED.match(line)
        if pinned and (version := here.get(_canonical(pinned[1]))):
            yield f"{pinned[1]}==={version}"
        else:
            yield line


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print("\n".join(dict.fromkeys(as_installed(Path(sys.argv[1]).read_text().splitlines()))))
