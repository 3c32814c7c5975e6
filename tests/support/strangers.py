"""Files of somebody else's, put where a command writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from custom_modules.folder_lock import LOCK
from custom_modules.made import NOTE

CONTENT = b"somebody else's\n"


def put(folder: Path, names: Iterable[str]) -> list[Path]:
    """Write files of those names, which say whose they are."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
    return paths


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content, but for the lock, which says who holds it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def made(folder: Path) -> list[str]:
    """The files of a folder by their path in it, but for notes, whose name nobody else gives a file."""
    return [name for name in snapshot(folder) if Path(name).name != NOTE]
