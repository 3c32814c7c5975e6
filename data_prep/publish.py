"""Put finished data in place of what was there, so that at no moment a folder looks finished and is not."""

from __future__ import annotations

from pathlib import Path

import orjson

from custom_modules.data.manifest import MANIFEST
from custom_modules.files import sync
from data_prep import manifest
from data_prep.choose_tokenizer import FOLDER
from data_prep.files import explained, write_whole


def publish(description: manifest.Manifest, work: Path, directory: Path) -> None:
    """Rename the datasets and the tokenizer into ``data.dir``. Its old manifest goes first, the new one comes last.

    Args:
        description: the new manifest; its paths hold under ``work`` now, and under ``directory`` afterwards.
        work: a folder on the same file system as ``directory``.

    Raises:
        UserError: a file cannot be renamed.
    """
    old = manifest.read(directory)
    with explained(directory):
        tokenizer = [file.relative_to(work) for file in (work / FOLDER).iterdir()]
        for file in tokenizer:
            sync(work / file)
        files = [*map(Path, manifest.dataset_files(description)), *tokenizer]
        stale = {file.relative_to(directory) for file in (directory / FOLDER).glob("*")}
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
    write_whole(directory / MANIFEST, orjson.dumps(description, option=orjson.OPT_INDENT_2))
