"""Put finished data in place of what was there, so that at no moment a folder looks finished and is not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from custom_modules.data.layout import CARD, MANIFEST, REMOVED, TOKENIZER
from custom_modules.files import explained, sync
from data_prep.output.ownership import check_files, note, owned

_BESIDE = (TOKENIZER, REMOVED)


class Publishable(Protocol):
    """A manifest of data of any kind."""

    @property
    def path(self) -> Path:
        """Where it will lie."""
        ...

    def files(self, taught: bool = True) -> Iterable[Path]:
        """Return the paths in ``data.dir`` of what it names; without what teachers made, if that is asked for."""

    def write(self) -> None:
        """Put it in its place."""


def publish(manifest: Publishable, work: Path) -> None:
    """Rename the datasets, the tokenizer and the removed documents into ``data.dir``.

    Its old manifest goes first, the new one comes last. Of what was there only files are removed that an earlier
    `prepare` made.

    Args:
        manifest: the new one; its datasets lie under ``work`` now, and in its own folder afterwards. What it names
            of teachers is there already.
        work: a folder on the same file system.

    Raises:
        UserError: a file cannot be renamed, or would take the place of somebody else's.
    """
    directory = manifest.path.parent
    before = owned(directory)
    with explained(directory):
        beside = [file.relative_to(work) for folder in _BESIDE for file in sorted((work / folder).glob("*"))]
        for file in beside:
            sync(work / file)
        files = [*manifest.files(taught=False), *beside]
        every = {*files, *manifest.files(), *map(Path, CARD)}
        check_files(directory, sorted(every), before)
        note(directory, before | every)
        (directory / MANIFEST).unlink(missing_ok=True)
        sync(directory)
        for file in before - every - {Path(MANIFEST)}:
            (directory / file).unlink(missing_ok=True)
        for file in files:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).replace(directory / file)
        for folder in {(directory / file).parent for file in files}:
            sync(folder)
    manifest.write()
    note(directory, every)
