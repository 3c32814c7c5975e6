"""The places in ``data.dir``, and how a folder that `danube prepare` made is told from others."""

from __future__ import annotations

import json
from pathlib import Path

from custom_modules.made import NOTE, read_note

MANIFEST = "manifest.json"
WORK = "prepare.work"
"""Where `danube prepare` works: a folder with a note, cleared when the data is whole."""
IN_WORK = (
    "tasks",
    "filtered",
    "exact",
    "minhash",
    "vectors",
    "clusters",
    "compared",
    "drops",
    "read",
    "units",
    "shared",
    "datasets",
    "fast.json",
)
"""What `danube prepare` keeps there."""
TOKENIZER = "tokenizer"
REMOVED = "removed"
"""The documents that steps took out, a file a unit."""
RAW = "raw"
"""The builtin corpus."""
ONLY = "only"
"""What `danube prepare --only` makes."""
USED_BY = "used_by"
"""A file for every run that was started on the data."""
TEACH_WORK = "teach.work"
"""Where `danube teach` works, for all its processes, in a folder for every teacher and part."""
CARD = ("data_card.md", "data_card.html")
FOLDERS = (WORK, TOKENIZER, REMOVED, RAW, ONLY, USED_BY, TEACH_WORK)
OLD_WORK = "parts"
"""Where versions before 0.2 worked, without a note."""

_OF_A_MANIFEST = {"format", "options", "tokenizer"}
_PARTS = {"stages", "splits"}
"""What a manifest of text has, or one of conversations or pairs."""
_OLD_PARTS = ("units", "filtered", "datasets", "tasks")


def is_prepared(folder: Path) -> bool:
    """Tell whether `danube prepare` made a folder: finished, interrupted or damaged, by this version or an older."""
    if MANIFEST in (read_note(folder) or ()) or (folder / WORK / NOTE).is_file():
        return True
    return any((folder / OLD_WORK / name).is_dir() for name in _OLD_PARTS) or _has_manifest(folder)


def _has_manifest(folder: Path) -> bool:
    """Tell by ``manifest.json``; by what lies beside it where that is damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        return False
    try:
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return all((folder / name).is_file() for name in CARD) or any(folder.glob("*/*_train.idx"))
    return isinstance(plain, dict) and plain.keys() >= _OF_A_MANIFEST and bool(plain.keys() & _PARTS)
