"""How far joining the shards came, in a file beside the datasets: all that it says is on the disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pydantic import TypeAdapter, ValidationError

from custom_modules.data.index import IndexedDatasetWriter
from custom_modules.data.manifest import Part
from custom_modules.files import explained, whole_file
from data_prep.tokenize.assignment import Destination

NAME = "merge.json"
_FORMAT = 1


@dataclass(frozen=True)
class Merged:
    """What a dataset has of the shards."""

    shards: int = 0
    """The first so many are in it."""
    documents: int = 0
    tokens: int = 0
    part: Part | None = None
    """The finished dataset; None: there are only the beginnings of its files."""


@dataclass
class MergeRecord:
    """What every dataset has of the shards.

    Attributes:
        prefixes: the datasets' paths without suffix.
        merged: one for each of them.
    """

    path: Path
    key: str
    prefixes: list[Path]
    merged: list[Merged]

    @classmethod
    def open(
        cls, folder: Path, shards: Sequence[str], destinations: Sequence[Destination], dtype: np.dtype[Any]
    ) -> MergeRecord:
        """Read the record of a folder, as far as it is of these shards and its files are there.

        Args:
            shards: names that say what is in each.
            destinations: stage, source and group of each dataset.
        """
        defining = [_FORMAT, shards, destinations, dtype.name]
        key = hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()
        prefixes = [folder / stage / f"{source}_{group}" for stage, source, group in destinations]
        merged = _read(folder / NAME, key) or [Merged()] * len(destinations)
        kept = [
            one if _is_there(prefix, one, dtype) else Merged() for prefix, one in zip(prefixes, merged, strict=True)
        ]
        return cls(folder / NAME, key, prefixes, kept)

    def write(self) -> None:
        """Publish the record.

        Raises:
            UserError: it cannot be written.
        """
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        whole_file(self.path, orjson.dumps({"key": self.key, "merged": list(map(asdict, self.merged))}, default=str))


def _read(path: Path, key: str) -> list[Merged] | None:
    """What a record says of the datasets; None where there is none, or of other shards."""
    with suppress(FileNotFoundError, orjson.JSONDecodeError, ValidationError, KeyError, TypeError):
        plain = orjson.loads(path.read_bytes())
        if plain["key"] == key:
            return TypeAdapter(list[Merged]).validate_python(plain["merged"])
    return None


def _is_there(prefix: Path, merged: Merged, dtype: np.dtype[Any]) -> bool:
    if merged.part is None:
        return IndexedDatasetWriter.is_left(prefix, dtype, merged.documents, merged.tokens)
    files = {prefix.with_name(f"{prefix.name}.{suffix}"): size for suffix, size in merged.part.bytes.items()}
    return all(file.is_file() and file.stat().st_size == size for file, size in files.items())


def keep_merged(folder: Path) -> None:
    """Remove what is in a folder of datasets, but for what a merge goes on from."""
    if not (folder / NAME).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return
    with explained(folder):
        for path in folder.iterdir():
            if path.is_dir() and not any(path.glob("*.bin")):
                shutil.rmtree(path)
