"""megatron-core's index files of a dataset: built aside, published with their hashes, and compared with these later.

Needs neither torch nor megatron.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from custom_modules.files import aside_of, explained, sha256_of, sync, whole_file
from custom_modules.text import say
from custom_modules.threads import in_threads

RECORD = "index_files.json"
"""The bytes and the SHA-256 of each index file, by its name; written when all are in place."""

_AT_ONCE = 4
"""Files that are hashed at a time."""

_Entries = dict[str, dict[str, int | str]]


def publish_index_files(folder: Path, build: Callable[[Path], object]) -> None:
    """Leave a folder with the whole index files that ``build`` makes. Those that are there and sound stay.

    One process calls it, and no other reads there meanwhile.

    Args:
        folder: made where it is missing. Files in it that are no index files stay.
        build: fills the empty folder that it is given, the same way every time.

    Raises:
        UserError: a file cannot be read or written.
    """
    with explained(folder):
        why = _why_not_whole(folder)
        if why is None:
            return
        if why:
            say(f"{folder}: {why}; the index files are made again")
        aside = aside_of(folder)
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            build(aside)
            entries = _described(aside)
            folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                (folder / RECORD).unlink()
            for name in entries:
                sync(aside / name)
                (aside / name).replace(folder / name)
            sync(folder)
            sync(folder.parent)
            whole_file(folder / RECORD, json.dumps(entries, indent=0).encode())
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _described(folder: Path, names: list[str] | None = None) -> _Entries:
    """Return the record's entries for files of a folder, or for all."""
    chosen = names or sorted(path.name for path in folder.iterdir())
    digests = in_threads(lambda name: sha256_of(folder / name), chosen, _AT_ONCE)
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in zip(chosen, digests, strict=True)
    }


def _why_not_whole(folder: Path) -> str | None:
    """Return what a folder lacks; nothing is said of one that nobody has finished, None of a whole one."""
    try:
        entries: _Entries = json.loads((folder / RECORD).read_bytes())
        sizes = {str(name): int(entry["bytes"]) for name, entry in entries.items()}
    except FileNotFoundError:
        return ""
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{RECORD} is damaged"
    if not sizes:
        return f"{RECORD} names no files"
    for name, size in sizes.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if (found := (folder / name).stat().st_size) != size:
            return f"{name} has {found} bytes, not {size}"
    changed = [name for name, entry in _described(folder, list(sizes)).items() if entry != entries[name]]
    return f"the contents of {changed[0]} changed after it was made" if changed else None
