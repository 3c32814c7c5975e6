"""The benchmarks in a folder of evaluation data, as `danube evaluate --fetch` lays it down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from custom_modules.tasks.data_folder import MANIFEST, DataFolder, is_data_folder
from custom_modules.tasks.datasets import DATA_SETS, DataSet, texts_of

_MMLU = "mmlu"


def manifest_of(path: Path) -> Path | None:
    """Return the manifest of a folder of evaluation data, which stands for all that is in it; None for other paths."""
    return path / MANIFEST if is_data_folder(path) else None


def is_manifest(path: Path) -> bool:
    """Tell whether a path is what `manifest_of` returns."""
    return path.name == MANIFEST


def digests(manifest: Path) -> dict[str, str]:
    """Return the SHA-256 of each benchmark in a folder, by name; MMLU's subjects are one.

    Raises:
        UserError: the manifest is not as it was written.
    """
    folder = DataFolder(manifest.parent)
    return {
        name: hashlib.sha256("".join(folder.digest(each, each.evaluated) for each in of).encode()).hexdigest()
        for name, of in _benchmarks(folder).items()
    }


def read_texts(manifest: Path, name: str) -> Iterator[list[str]]:
    """Give the question, choices and answers of each document that is evaluated, in the order of its files.

    Raises:
        UserError: a file is missing, or not what was fetched.
    """
    folder = DataFolder(manifest.parent)
    for data_set in _benchmarks(folder)[name]:
        for document in folder.table(data_set, data_set.evaluated).to_pylist():
            yield texts_of(data_set, document)


def _benchmarks(folder: DataFolder) -> dict[str, list[DataSet]]:
    found: dict[str, list[DataSet]] = {}
    for name in folder.names():
        found.setdefault(_MMLU if name.startswith(f"{_MMLU}_") else name, []).append(DATA_SETS[name])
    return found
