"""Every document that a step took out, kept with its reason in ``data.dir/removed``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from data_prep.clean import CleanUnit
from data_prep.files import explained
from data_prep.filtering import REMOVED

REMOVED_FOLDER = "removed"


def collect_removed(cleaned: Sequence[CleanUnit], parts: Sequence[Path], folder: Path) -> None:
    """Write ``folder/00000.jsonl.zst`` and so on, one a unit: what the steps removed, then the copies.

    Args:
        parts: what `data_prep.parts.make_part` made of the units.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, (unit, part) in enumerate(zip(cleaned, parts, strict=True)):
            with (folder / f"{number:05d}.jsonl.zst").open("wb") as whole:
                for piece in (unit.folder / REMOVED, part / REMOVED):
                    with piece.open("rb") as source:
                        shutil.copyfileobj(source, whole)
