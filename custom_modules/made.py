"""What this program has made, told from what is somebody else's: a note in every folder that it replaces or clears.

The note names the files by their path in the folder. What it does not name is never removed or written over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import asides_of_all, whole_file

NOTE = ".made_by_danube"
"""The note's name. A program that clears a folder looks for it there first."""

_NAMED = 3


def write_note(folder: Path, files: Mapping[str, int | None], more: Mapping[str, object] | None = None) -> None:
    """Name the files of a folder that this program made, or is about to make.

    Args:
        files: bytes by path in the folder; None where the size does not tell it from another's.
        more: what else is to be remembered of the folder, for `read_more`.

    Raises:
        UserError: the note cannot be written.
    """
    whole_file(
        folder / NOTE, json.dumps({**(more or {}), "made_by": "danube", "files": dict(files)}, indent=0).encode()
    )


def note_files(folder: Path) -> None:
    """Name all that is in a folder now, and nothing of which is anybody else's."""
    write_note(folder, {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder)})


def read_note(folder: Path) -> dict[str, int | None] | None:
    """Return what `write_note` wrote; None where there is no note that can be read."""
    try:
        plain = json.loads((folder / NOTE).read_bytes())
        files = plain["files"]
        return {str(name): None if size is None else int(size) for name, size in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_more(folder: Path) -> dict[str, object]:
    """Return all that is in a folder's note, what was remembered beside the files among it; nothing without a note."""
    try:
        return dict(json.loads((folder / NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def strangers(folder: Path) -> list[Path]:
    """Return the files in a folder that its note does not name, or that have another size than it says."""
    named = read_note(folder) or {}
    found = []
    for path in _files(folder):
        name = str(path.relative_to(folder))
        if name not in named or named[name] not in (None, path.lstat().st_size):
            found.append(path)
    return found


def check_replaceable(folder: Path, what: str) -> None:
    """Make sure that nothing is lost where a folder is replaced as a whole.

    Args:
        folder: one that may be there.
        what: what it has to be, such as ``an earlier export``.

    Raises:
        UserError: it is no folder, or it holds a file that this program did not make, or that changed since.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or folder.is_symlink():
        raise UserError(f"{folder}: not {what}, so it is not replaced; give another folder")
    found = strangers(folder)
    if found and read_note(folder) is None:
        raise UserError(
            f"{folder}: not {what}: it has no {NOTE}, which names what was made (versions before 0.2 wrote none); "
            "remove it yourself, or give another folder"
        )
    if found:
        raise UserError(f"{folder}: not only {what}: it holds {listed(found)}; move that away, or give another folder")


def check_claimable(folder: Path, what: str) -> None:
    """Make sure that a folder can be taken to work in: a new or empty one, or one that was taken before.

    Raises:
        UserError: it holds something and no note, so it is somebody else's.
    """
    if os.path.lexists(folder) and not is_claimed(folder):
        raise UserError(f"{folder}: not made by `{what}`, which works in a folder of that name; move it away")


def claim(folder: Path, what: str) -> None:
    """Take a folder to work in, and make it where it is missing.

    Raises:
        UserError: as `check_claimable`; or it cannot be made.
    """
    check_claimable(folder, what)
    folder.mkdir(parents=True, exist_ok=True)
    write_note(folder, {})
    for unfinished in asides_of_all(folder / NOTE):
        unfinished.unlink(missing_ok=True)


def is_claimed(folder: Path) -> bool:
    """Tell whether a folder was taken by `claim`, or may have been by one that was killed: it has nothing in it."""
    return folder.is_dir() and (read_note(folder) is not None or set(folder.iterdir()) == set(_notes(folder)))


def remove_empty(folder: Path) -> None:
    """Remove a folder and those in it, as far as they are empty but for a note."""
    for parent, _, _ in os.walk(folder, topdown=False):
        here = Path(parent)
        with suppress(OSError):
            notes = _notes(here)
            if set(here.iterdir()) == set(notes):
                for note in notes:
                    note.unlink()
            here.rmdir()


def _notes(folder: Path) -> list[Path]:
    """Return the note in a folder, if there is one, and what processes that were killed have left of theirs."""
    note = folder / NOTE
    return [*([note] if note.is_file() else []), *asides_of_all(note)]


def listed(paths: Iterable[Path]) -> str:
    """Name the first few of some files, and count the others."""
    every = [str(path) for path in paths]
    more = f" and {len(every) - _NAMED:,} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _files(folder: Path) -> list[Path]:
    """Everything below a folder that is no folder, but for its note; links count as what they are."""
    found = []
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        found += [Path(parent) / name for name in (*names, *links)]
    return sorted(path for path in found if path != folder / NOTE)
