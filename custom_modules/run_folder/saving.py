"""What every kind of run does around the writing of a checkpoint: it describes files and words failures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_modules.files import is_disk_full
from custom_modules.run_folder.checkpoint_files import cause_of, list_folders
from custom_modules.run_folder.metadata import describe_file

ALMOST_FULL = 1 << 20
"""Bytes free below which a failed save is the disk's."""


def describe_files(folder: Path, digests: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the size and SHA-256 of every file of a checkpoint, by its path in the folder.

    Args:
        digests: hashes that are known; other files are small, and read for it.
    """
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name: describe_file(folder / name, digests.get(name)) for name in sorted(found | digests.keys())}


def set_aside(target: Path) -> None:
    """Make room for a checkpoint whose name a damaged one holds: that one is renamed, never deleted."""
    taken = 0
    while (aside := target.with_name(f"damaged_{taken}_{target.name}")).exists():
        taken += 1
    target.rename(aside)


def why_not_saved(error: BaseException, target: Path, run_dir: Path) -> str:
    """Word why a checkpoint could not be written, and where its run stands.

    torch reports a full disk as whatever its writer stumbled over, so the disk itself is asked.
    """
    root = target.parent
    free, cause = shutil.disk_usage(root if root.is_dir() else run_dir).free, cause_of(error)
    if free < ALMOST_FULL or is_disk_full(cause):
        what = f"the disk is full ({free:,} bytes free); free some space"
    else:
        what = " ".join(str(cause).split())
    last = list_folders(run_dir)
    stands = f"{last[-1].name} stands" if last else "there is none before it"
    return f"{target}: the checkpoint could not be written: {what}; {stands}; the same command goes on from there"
