"""Put finished data in place of what was there, so that at no moment a folder looks finished and is not."""

from __future__ import annotations

from pathlib import Path

import orjson

from custom_modules.data.manifest import MANIFEST
from custom_modules.files import explained, sync, whole_file
from data_prep.output import manifest
from data_prep.output.removed import REMOVED_FOLDER
from data_prep.tokenize.choose_tokenizer import FOLDER

_BESIDE = (FOLDER, REMOVED_FOLDER)


def publish(description: manifest.Manifest, work: Path, directory: Path) -> None:
    """Rename the datasets, the tokenizer and the removed documents into ``data.dir``.

    Its old manifest goes first, the new one comes last.

    Args:
        description: the new manifest; its paths hold under ``work`` now, and under ``directory`` afterwards.
        work: a folder on the same file system as ``directory``.

    Raises:
        UserError: a file cannot be renamed.
    """
    old = manifest.read(directory)
    with explained(directory):
        beside = [file.relative_to(work) for folder in _BESIDE for file in sorted((work / folder).glob("*"))]
        for file in beside:
            sync(work / file)
        files = [*map(Path, manifest.dataset_files(description)), *beside]
        stale = {file.relative_to(directory) for folder in _BESIDE for file in (directory / folder).glob("*")}
        stale |= set(map(Path, manifest.dataset_files(old) if old else ()))
        (directory / MANIFEST).unlink(missing_ok=True)
        sync(directory)
        for file in stale - set(files):
            (directory / file).unlink(missing_ok=True)
        for file in files:
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (work / file).replace(directory / file)
        for folder in {(directory / file).parent for file in files}:
            sync(folder)
    whole_file(directory / MANIFEST, orjson.dumps(description, option=orjson.OPT_INDENT_2))
