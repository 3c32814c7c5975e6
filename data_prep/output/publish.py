"""Put finished data in place of what was there, so that at no moment a folder looks finished and is not."""

from __future__ import annotations

from pathlib import Path

from custom_modules.data.manifest import MANIFEST, Manifest
from custom_modules.files import explained, sync
from data_prep.output.manifest import find_manifest
from data_prep.output.removed import REMOVED_FOLDER
from data_prep.tokenize.choose_tokenizer import FOLDER

_BESIDE = (FOLDER, REMOVED_FOLDER)


def publish(manifest: Manifest, work: Path) -> None:
    """Rename the datasets, the tokenizer and the removed documents into ``data.dir``.

    Its old manifest goes first, the new one comes last.

    Args:
        manifest: the new one; its datasets lie under ``work`` now, and in its own folder afterwards.
        work: a folder on the same file system.

    Raises:
        UserError: a file cannot be renamed.
    """
    directory = manifest.path.parent
    old = find_manifest(directory)
    with explained(directory):
        beside = [file.relative_to(work) for folder in _BESIDE for file in sorted((work / folder).glob("*"))]
        for file in beside:
            sync(work / file)
        files = [*manifest.files(), *beside]
        stale = {file.relative_to(directory) for folder in _BESIDE for file in (directory / folder).glob("*")}
        stale |= set(old.files() if old else ())
        (directory / MANIFEST).unlink(missing_ok=True)
        sync(directory)
        for file in stale - set(files):
            (directory / file).unlink(missing_ok=True)
        for file in files:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).replace(directory / file)
        for folder in {(directory / file).parent for file in files}:
            sync(folder)
    manifest.write()
