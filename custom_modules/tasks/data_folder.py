"""The folder that evaluations read: data sets as plain Parquet in the hub's layout, and a manifest of what is there.

`danube evaluate --fetch` writes it: ``DIR/allenai/ai2_arc`` and so on, each with its card, and ``DIR/manifest.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from custom_modules.errors import UserError
from custom_modules.files import readable, sha256_of, whole_file
from custom_modules.tasks.datasets import DATA_SETS, DataSet

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.json"

MADE_UP = "rehearsal"
"""The revision of sets in the real ones' columns with other content."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FetchedFile(_Record):
    """A file of a set."""

    sha256: str
    bytes: int


class FetchedSet(_Record):
    """A repository of data sets as it was laid down."""

    revision: str
    configs: dict[str, dict[str, list[str]]]
    """The Parquet files of each split by configuration, by their paths in the repository's folder."""
    files: dict[str, FetchedFile]
    """Those and the card."""


class Manifest(_Record):
    """``manifest.json``."""

    format: Literal[1] = 1
    data: dict[str, FetchedSet] = {}
    """By the repository's name on the hub."""


def is_data_folder(folder: Path) -> bool:
    """Tell whether a folder has a manifest of fetched sets, be it damaged; other programs' have other keys."""
    try:
        plain = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(plain, dict) and {"format", "data"} == set(plain)


def read_manifest(folder: Path) -> Manifest:
    """Read what is in a folder; an empty manifest where there is none.

    Raises:
        UserError: it is not as it was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return Manifest()
    with readable(path):
        content = path.read_bytes()
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise UserError(f"{path}: not as it was written ({where}: {first['msg']}); {_fetch(folder)}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish a folder's manifest in place of what was there.

    Raises:
        UserError: it cannot be written.
    """
    whole_file(folder / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")


def described(folder: Path, revision: str, configs: Mapping[str, Mapping[str, list[str]]]) -> FetchedSet:
    """Describe a repository's folder with all files in it.

    Raises:
        OSError: a file cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return FetchedSet(
        revision=revision,
        configs={config: dict(splits) for config, splits in configs.items()},
        files={
            path.relative_to(folder).as_posix(): FetchedFile(sha256=sha256_of(path), bytes=path.stat().st_size)
            for path in files
        },
    )


class DataFolder:
    """Reads the known sets out of a folder, and makes sure that they are those.

    Args:
        folder: where `danube evaluate --fetch` laid them down.

    Raises:
        UserError: its manifest is not as it was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = read_manifest(folder)
        self._checked: set[Path] = set()

    def revision(self, data_set: DataSet) -> str:
        """Return the revision that was laid down: the pinned one, or `MADE_UP`.

        Raises:
            UserError: the set is not there, or of another revision.
        """
        revision = self._set(data_set).revision
        if revision not in (data_set.revision, MADE_UP):
            raise UserError(
                f"{self._manifest_path}: {data_set.repository} is of revision {revision[:12]}, and the pinned one is "
                f"{data_set.revision[:12]}; {_fetch(self.folder)}"
            )
        return revision

    def table(self, data_set: DataSet, split: str) -> pyarrow.Table:
        """Read all documents of a split.

        Raises:
            UserError: the set or split is not there, a file is missing or has changed, a column that tasks read is
                missing, or there is no document.
        """
        import pyarrow
        from pyarrow import parquet

        self.revision(data_set)
        paths = self._files(data_set, split)
        tables = []
        for path in paths:
            self._check(data_set, path)
            with readable(path):
                try:
                    tables.append(parquet.read_table(path))
                except pyarrow.ArrowException as error:
                    raise UserError(f"{path}: not Parquet ({error}); {_fetch(self.folder)}") from None
        whole = pyarrow.concat_tables(tables)
        missing = [name for name in data_set.columns if name not in whole.column_names]
        if missing:
            raise UserError(f"{paths[0]}: has no column {missing[0]}; {_fetch(self.folder)}")
        if not len(whole):
            raise UserError(f"{paths[0]}: split {split} has no document; {_fetch(self.folder)}")
        return whole

    def digest(self, data_set: DataSet, split: str) -> str:
        """Return the SHA-256 of the hashes of a split's files, as the manifest has them.

        Raises:
            UserError: the set or split is not there.
        """
        whole = hashlib.sha256()
        for path in self._files(data_set, split):
            whole.update(self._noted(data_set, path).sha256.encode())
        return whole.hexdigest()

    def names(self) -> list[str]:
        """Return the known sets that are there, by our names, in `DATA_SETS`' order."""
        there = self._manifest.data
        return [
            name
            for name, each in DATA_SETS.items()
            if each.repository in there and each.config in there[each.repository].configs
        ]

    @property
    def _manifest_path(self) -> Path:
        return self.folder / MANIFEST

    def _set(self, data_set: DataSet) -> FetchedSet:
        found = self._manifest.data.get(data_set.repository)
        if found is None or data_set.config not in found.configs:
            raise UserError(
                f"{self.folder}: {data_set.repository} ({data_set.config}) is not there; {_fetch(self.folder)}"
            )
        return found

    def _files(self, data_set: DataSet, split: str) -> list[Path]:
        names = self._set(data_set).configs[data_set.config].get(split)
        if not names:
            raise UserError(
                f"{self.folder}: {data_set.repository} ({data_set.config}) has no split {split}; {_fetch(self.folder)}"
            )
        return [self.folder / data_set.repository / name for name in names]

    def _noted(self, data_set: DataSet, path: Path) -> FetchedFile:
        name = path.relative_to(self.folder / data_set.repository).as_posix()
        noted = self._set(data_set).files.get(name)
        if noted is None:
            raise UserError(f"{self._manifest_path}: has no hash of {path}; {_fetch(self.folder)}")
        return noted

    def _check(self, data_set: DataSet, path: Path) -> None:
        if path in self._checked:
            return
        if not path.is_file():
            raise UserError(f"{path}: missing; {_fetch(self.folder)}")
        with readable(path):
            digest = sha256_of(path)
        if digest != self._noted(data_set, path).sha256:
            raise UserError(f"{path}: not what {MANIFEST} has the hash of; {_fetch(self.folder)}")
        self._checked.add(path)


def _fetch(folder: Path) -> str:
    return f"where there is internet: danube evaluate --fetch {folder} --suite all"
