"""``danube evaluate --fetch``: the suites' data sets, from the hub into plain folders that no hub is needed for."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from custom_modules.errors import PassingError, UserError
from custom_modules.files import explained, publish_folder, sha256_of
from custom_modules.hub import patiently, quieten_hub
from custom_modules.made import check_replaceable, note_files
from custom_modules.tasks.data_folder import (
    FetchedSet,
    described,
    read_manifest,
    write_manifest,
)
from custom_modules.tasks.datasets import DataSet, data_sets_of
from custom_modules.tasks.suite import ALL, Suite, load_suite, suite_names
from custom_modules.text import decimal_bytes, say

_ASIDE = ".fetching"
"""Where sets are until they are whole; what a killed process left there is gone on with."""

_CARD = "README.md"
_PARQUET = ".parquet"
_SHOWN = 12
"""Characters of a commit."""


def fetch(suites: Sequence[str | Path], folder: Path, say: Callable[[str], None] = say) -> None:
    """Lay the data sets of some suites down, each at its pinned revision, but for those that are there already.

    Args:
        suites: names or files, as `load_suite` takes them, or `ALL`.
        folder: it gets ``allenai/ai2_arc`` and so on, and a manifest with the hash of every file.
        say: told of each set.

    Raises:
        UserError: a suite that is not there, a task whose data set is not known here, a set or revision that the hub
            does not have, one without the known documents, a folder in the place of one that holds something else, or
            the disk refuses.
        PassingError: the hub or the network fails, again and again; the same command goes on.
    """
    names = [name for each in suites for name in (suite_names() if each == ALL else (each,))]
    for repository, data_sets in _wanted([load_suite(name) for name in names]).items():
        there = read_manifest(folder).data.get(repository)
        if there is not None and _is_whole(folder / repository, there, data_sets):
            say(f"{repository}: already there")
        else:
            _fetch_set(repository, data_sets, folder, say)
    shutil.rmtree(folder / _ASIDE, ignore_errors=True)


def _wanted(suites: Sequence[Suite]) -> dict[str, list[DataSet]]:
    found: dict[str, list[DataSet]] = {}
    for entry in (entry for suite in suites for entry in suite.entries if not entry.file):
        data_sets = data_sets_of(entry.task)
        if not data_sets:
            raise UserError(f"{entry.task}: its data set is none that is known here; leave it out")
        for data_set in data_sets:
            of_repository = found.setdefault(data_set.repository, [])
            if data_set not in of_repository:
                of_repository.append(data_set)
    return found


def _is_whole(folder: Path, there: FetchedSet, data_sets: Sequence[DataSet]) -> bool:
    if not all(each.revision == there.revision and each.config in there.configs for each in data_sets):
        return False
    with explained(folder):
        return all(
            (folder / name).is_file() and sha256_of(folder / name) == file.sha256 for name, file in there.files.items()
        )


def _fetch_set(repository: str, data_sets: Sequence[DataSet], folder: Path, say: Callable[[str], None]) -> None:
    hub, revision = _Hub(repository, data_sets[0].revision), data_sets[0].revision
    aside = folder / _ASIDE / repository
    check_replaceable(folder / repository, "what `danube evaluate --fetch` laid down")
    with explained(folder):
        names = hub.names()
        aside.mkdir(parents=True, exist_ok=True)
        card = _front_matter(hub.download(_CARD, aside)) if _CARD in names else {}
        configs = {
            each.config: {split: _paths(each, split, card, names) for split in each.documents} for each in data_sets
        }
        chosen = [path for splits in configs.values() for paths in splits.values() for path in paths]
        say(f"{repository} at {revision[:_SHOWN]}: {len(chosen)} files")
        for name in dict.fromkeys(chosen):
            hub.download(name, aside)
        for data_set in data_sets:
            _check_counts(data_set, aside, configs[data_set.config])
        shutil.rmtree(aside / ".cache", ignore_errors=True)
        fetched = described(aside, revision, configs)
        note_files(aside)
        (folder / repository).parent.mkdir(parents=True, exist_ok=True)
        publish_folder(aside, folder / repository)
        manifest = read_manifest(folder)
        write_manifest(folder, manifest.model_copy(update={"data": {**manifest.data, repository: fetched}}))
        say(f"{repository}: {decimal_bytes(sum(file.bytes for file in fetched.files.values()))}")


class _Hub:
    """One data set at one commit."""

    def __init__(self, repository: str, revision: str) -> None:
        quieten_hub()
        self._repository, self._revision = repository, revision
        self._where = f"--fetch: {repository} at {revision[:_SHOWN]}"
        self._endpoint = os.environ.get("HF_ENDPOINT") or None
        self._hashes: dict[str, str] = {}

    def names(self) -> list[str]:
        """Return the paths of all files.

        Raises:
            UserError: the hub answers with another commit.
        """
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint)
        info = patiently(
            self._where,
            lambda: api.dataset_info(self._repository, revision=self._revision, files_metadata=True),
        )
        if info.sha != self._revision:
            raise UserError(f"{self._where}: the hub answers with {str(info.sha)[:_SHOWN]}; ask another (HF_ENDPOINT)")
        siblings = info.siblings or ()
        self._hashes = {each.rfilename: each.lfs.sha256 for each in siblings if each.lfs and each.lfs.sha256}
        return sorted(each.rfilename for each in siblings)

    def download(self, name: str, folder: Path) -> Path:
        """Download a file, but for what is there of it already, and check its hash where the hub knows that."""
        from huggingface_hub import hf_hub_download

        path = Path(
            patiently(
                f"{self._where}: {name}",
                lambda: hf_hub_download(
                    self._repository,
                    name,
                    repo_type="dataset",
                    revision=self._revision,
                    local_dir=folder,
                    endpoint=self._endpoint,
                ),
            )
        )
        if sha256_of(path) != self._hashes.get(name, sha256_of(path)):
            path.unlink()
            raise PassingError(f"{self._where}: {name}: not what the hub has the hash of; fetch it again")
        return path


def _front_matter(card: Path) -> Mapping[str, Any]:
    """Read the YAML at the head of a card; nothing where there is none."""
    found = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    try:
        plain = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError:
        return {}
    return plain if isinstance(plain, Mapping) else {}


def _paths(data_set: DataSet, split: str, card: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return the Parquet files of a split, as the card names them, or else by their own names.

    Raises:
        UserError: there are none.
    """
    patterns = list(_patterns(card, data_set.config, split))
    parquet = [name for name in names if name.endswith(_PARQUET)]
    found = [name for name in parquet if any(fnmatch(name, pattern) for pattern in patterns)]
    found = found or [name for name in parquet if _is_named(PurePosixPath(name), data_set, split)]
    if not found:
        raise UserError(
            f"--fetch: {data_set.repository} at {data_set.revision[:_SHOWN]}: has no Parquet of {data_set.config}, "
            f"split {split}; ask another hub (HF_ENDPOINT)"
        )
    return found


def _patterns(card: Mapping[str, Any], config: str, split: str) -> Iterator[str]:
    for one in card.get("configs") or ():
        files = one.get("data_files") if one.get("config_name") == config else None
        for each in files if isinstance(files, list) else ():
            if isinstance(each, Mapping) and each.get("split") == split:
                path = each.get("path")
                yield from path if isinstance(path, list) else [str(path)]


def _is_named(path: PurePosixPath, data_set: DataSet, split: str) -> bool:
    is_there = data_set.is_only or data_set.config in path.parts
    return is_there and split in re.split(r"[-_.]", path.stem)


def _check_counts(data_set: DataSet, folder: Path, splits: Mapping[str, Sequence[str]]) -> None:
    import pyarrow
    from pyarrow import parquet

    for split, paths in splits.items():
        try:
            count = sum(parquet.read_metadata(folder / path).num_rows for path in paths)
        except pyarrow.ArrowException as error:
            raise UserError(f"--fetch: {data_set.repository}: {paths[0]} is not Parquet ({error})") from None
        if count != data_set.documents[split]:
            raise UserError(
                f"--fetch: {data_set.repository} at {data_set.revision[:_SHOWN]}: split {split} of {data_set.config} "
                f"has {count:,} documents, and {data_set.documents[split]:,} are known; ask another hub (HF_ENDPOINT)"
            )
