"""What teachers have said of data that is prepared again: kept beside what comes out as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace as changed
from pathlib import Path

from custom_modules.data.check_taught import ROWS, TEXTS_NOTE, taught_files
from custom_modules.data.manifest import Manifest, Part
from custom_modules.distillation.rows import note_file, read_rows_note
from custom_modules.distillation.texts import read_texts_note
from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.made import listed
from data_prep.work.progress import say

_KINDS = ("bin", "idx")


def check_taught(existing: Manifest | None, built: Manifest | None, replace: bool) -> None:
    """Make sure that nothing is lost of what teachers have said of the data that is there.

    Args:
        built: the data to be; None where it is not made yet, but is known to be other data.
        replace: whether that was asked for; then it is named, and nothing is raised.

    Raises:
        UserError: teachers have spoken of a dataset that the new data does not have.
    """
    lost = _lost(existing, built) if existing else []
    if not lost or existing is None:
        return
    if not replace:
        raise UserError(
            f"data.dir={existing.path.parent}: {listed(lost)} is a teacher's, beside data that would be replaced; use "
            "another data.dir, or replace it with --replace"
        )
    say(f"replacing the data beside {listed(lost)}, which teachers have to make again")


def _lost(existing: Manifest, built: Manifest | None) -> list[Path]:
    kept = {_identity(part) for _, _, part in built.datasets()} if built else set()
    parts = (part for _, _, part in existing.datasets() if _identity(part) not in kept)
    return [path for part in parts for path in taught_files(part).values()]


def _identity(part: Part) -> tuple[Path, ...]:
    return part.prefix, *(Path(part.sha256[kind]) for kind in _KINDS)


def with_taught(built: Manifest) -> Manifest:
    """Name in the manifest of new data what teachers have said of it, as far as it lies where that is going to be.

    It is known by its notes: the old manifest may be gone, where an earlier `prepare` was killed.
    """
    stages = {
        stage: {split: list(map(_with_taught, parts)) for split, parts in splits.items()}
        for stage, splits in built.stages.items()
    }
    return changed(built, stages=stages)


def _with_taught(part: Part) -> Part:
    found = dict(_found(part))
    sizes = {suffix: part.beside(suffix).stat().st_size for suffix in found}
    return changed(part, bytes={**part.bytes, **sizes}, sha256={**part.sha256, **found})


def _found(part: Part) -> Iterator[tuple[str, str]]:
    """Give the files of teachers beside a dataset that are of it, by their suffix, with their SHA-256."""
    own = (part.sha256["bin"], part.sha256["idx"])
    begin = len(part.prefix.name) + 1
    for path in sorted(part.prefix.parent.glob(f"{part.prefix.name}.*{ROWS}")):
        with suppress(UserError):
            note = read_rows_note(path)
            if (note.bin_sha256, note.idx_sha256) == own:
                yield path.name[begin:], note.sha256
                yield note_file(path).name[begin:], sha256_of(note_file(path))
    for path in sorted(part.prefix.parent.glob(f"{part.prefix.name}.*{TEXTS_NOTE}")):
        with suppress(UserError):
            texts = read_texts_note(path)
            name = path.name[begin:].removesuffix(".json")
            files = {f"{name}.{kind}": texts.sha256[kind] for kind in _KINDS}
            whole = all(part.beside(suffix).is_file() for suffix in files)
            if (texts.bin_sha256, texts.idx_sha256) == own and whole:
                yield from files.items()
                yield path.name[begin:], sha256_of(path)
