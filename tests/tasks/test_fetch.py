"""``danube evaluate --fetch`` against a hub on this machine: what is laid down, and what is said where it is not."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from custom_modules.errors import PassingError, UserError
from custom_modules.files import sha256_of
from custom_modules.tasks.data_folder import DataFolder, read_manifest
from custom_modules.tasks.datasets import DATA_SETS, data_sets_of
from custom_modules.tasks.fetch import fetch
from custom_modules.tasks.suite import load_suite, suite_names
from tests.support.hub import Hub, serve
from tests.support.small_disk import needs_small_disk, with_mounts

Write = Callable[..., Path]

GSM8K, OPENBOOKQA = DATA_SETS["gsm8k"], DATA_SETS["openbookqa"]
CARD = b"""---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - split: test
    path: [main/test-*]
- config_name: socratic
  data_files: [{split: test, path: socratic/test-*}]
---
# Sums
"""


def rows(count: int, *columns: str) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table({name: [f"{name} {n}" for n in range(count)] for name in columns}), stream)
    return stream.getvalue()


SUMS = {
    "README.md": CARD,
    "main/train-00000-of-00001.parquet": rows(7_473, "question", "answer"),
    "main/test-00000-of-00002.parquet": rows(1_000, "question", "answer"),
    "main/test-00001-of-00002.parquet": rows(319, "question", "answer"),
    "socratic/test-00000-of-00001.parquet": b"never asked for",
}
BOOKS = {
    "main/openbookqa_train.parquet": rows(4_957, "question_stem", "choices", "answerKey"),
    "main/openbookqa_test.parquet": rows(500, "question_stem", "choices", "answerKey"),
    "additional/openbookqa_test.parquet": b"never asked for",
}


@pytest.fixture
def suite(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a suite of tasks; returns its file."""

    def write(*tasks: str) -> Path:
        path = tmp_path_factory.mktemp("suite") / "mine.yaml"
        entries = [{"task": task, "metric": "acc"} for task in tasks]
        path.write_text(json.dumps({"title": "tests", "tasks": entries}))
        return path

    return write


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two of the sets, at their revisions, that is asked without waiting."""
    files = {GSM8K.repository: SUMS, OPENBOOKQA.repository: BOOKS}
    commits = {each.repository: each.revision for each in (GSM8K, OPENBOOKQA)}
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", "none")
    # A test of `danube dpo` in the same process leaves the library offline.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve(Hub(files, commits=commits)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def contents(folder: Path) -> Mapping[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_lays_sets_down_as_plain_folders(tmp_path: Path, hub: Hub, suite: Write) -> None:
    """By the card, or else by the names of the files; with the hash of each, and nothing that no task reads."""
    said: list[str] = []
    fetch([suite("gsm8k"), suite("gsm8k", "openbookqa")], tmp_path, said.append)
    assert contents(tmp_path / "openai" / "gsm8k") == {name: SUMS[name] for name in SUMS if "socratic" not in name}
    assert contents(tmp_path / "allenai" / "openbookqa") == {name: BOOKS[name] for name in BOOKS if "main" in name}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["allenai", "manifest.json", "openai"]
    manifest = read_manifest(tmp_path).data
    assert {name: one.revision for name, one in manifest.items()} == hub.commits
    for name, one in manifest.items():
        assert {path: file.sha256 for path, file in one.files.items()} == {
            path: sha256_of(tmp_path / name / path) for path in contents(tmp_path / name)
        }
    assert [len(DataFolder(tmp_path).table(GSM8K, split)) for split in ("test", "train")] == [1_319, 7_473]
    assert any("openai/gsm8k at 740312add88f" in line for line in said)


def test_what_is_there_is_not_asked_for_again(tmp_path: Path, hub: Hub, suite: Write) -> None:
    """But what has changed since is."""
    fetch([suite("gsm8k")], tmp_path, lambda _: None)
    hub.asked.clear()
    said: list[str] = []
    fetch([suite("gsm8k")], tmp_path, said.append)
    assert not hub.asked and said == ["openai/gsm8k: already there"]
    changed = tmp_path / "openai" / "gsm8k" / "main" / "test-00001-of-00002.parquet"
    changed.unlink()
    fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert changed.read_bytes() == SUMS["main/test-00001-of-00002.parquet"]


def test_a_cut_transfer_goes_on(tmp_path: Path, hub: Hub, suite: Write) -> None:
    hub.cut_after += [len(CARD), 1_000, 10, 0, 500]
    hub.statuses += [429, 503]
    fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert not hub.cut_after and not hub.statuses
    assert contents(tmp_path / "openai" / "gsm8k") == {name: SUMS[name] for name in SUMS if "socratic" not in name}


def test_a_hub_that_stays_away_leaves_nothing_that_looks_whole(tmp_path: Path, hub: Hub, suite: Write) -> None:
    """What came before is kept, and not asked for again."""
    sums = dict(SUMS)
    hub.sets = {GSM8K.repository: {**sums, "main/test-00001-of-00002.parquet": b""}}
    with pytest.raises(UserError, match=r"not Parquet"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert not (tmp_path / "openai").exists() and not read_manifest(tmp_path).data
    hub.always = 429
    with pytest.raises(PassingError, match="the hub answers 429"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert not (tmp_path / "openai").exists()
    hub.always = None
    hub.sets = {GSM8K.repository: sums}
    (tmp_path / ".fetching" / GSM8K.repository / "main" / "test-00001-of-00002.parquet").unlink()
    hub.asked.clear()
    fetch([suite("gsm8k")], tmp_path, lambda _: None)
    got = [path for method, path, _ in hub.asked if method == "GET" and "train-00000" in path]
    assert not got and (tmp_path / "openai" / "gsm8k").is_dir()


def test_refuses_another_revision(tmp_path: Path, hub: Hub, suite: Write) -> None:
    hub.commits[GSM8K.repository] = "d" * 40
    with pytest.raises(UserError, match=r"openai/gsm8k at 740312add88f: the data set has no such revision"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
    hub.ignores_revisions = True
    with pytest.raises(UserError, match=r"openai/gsm8k at 740312add88f: the hub answers with dddddddddddd"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)


def test_refuses_a_file_of_another_hash(tmp_path: Path, hub: Hub, suite: Write) -> None:
    """It is not kept, so that the next try asks for it again."""
    hub.hashes["main/train-00000-of-00001.parquet"] = "0" * 64
    with pytest.raises(PassingError, match=r"main/train-00000-of-00001\.parquet: not what the hub has the hash of"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert not (tmp_path / "openai").exists()
    hub.hashes.clear()
    fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert len(DataFolder(tmp_path).table(GSM8K, "train")) == 7_473


def test_refuses_a_set_that_is_not_there(tmp_path: Path, hub: Hub, suite: Write) -> None:
    hub.sets = {}
    with pytest.raises(UserError, match=r"openai/gsm8k at 740312add88f: .* has no such data set"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"main/test-00001-of-00002.parquet": rows(318, "question", "answer")},
            "split test of main has 1,318 documents",
        ),
        ({"main/train-00000-of-00001.parquet": None}, "has no Parquet of main, split train"),
        ({"main/test-00001-of-00002.parquet": b"<html>"}, "is not Parquet"),
    ],
)
def test_refuses_what_is_not_the_known_set(
    changed: Mapping[str, bytes | None], message: str, tmp_path: Path, hub: Hub, suite: Write
) -> None:
    """Nothing is published, and the manifest does not name it."""
    mixed = {**SUMS, **changed}
    hub.sets = {GSM8K.repository: {name: content for name, content in mixed.items() if content is not None}}
    with pytest.raises(UserError, match=message):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert not (tmp_path / "openai").exists() and not read_manifest(tmp_path).data


def test_replaces_nothing_of_somebody_elses(tmp_path: Path, suite: Write) -> None:
    mine = tmp_path / "openai" / "gsm8k" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="not what `danube evaluate --fetch` laid down"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
    assert mine.read_text() == "mine"


FETCH = """
import sys
from pathlib import Path
from custom_modules.tasks.fetch import fetch
fetch([sys.argv[1]], Path(sys.argv[2]))
"""
ON_SMALL_DISK = """
mount -t tmpfs -o size=32k none "$1" && "$2" -c "$3" "$4" "$1/data"
"""


@needs_small_disk
@pytest.mark.slow
def test_a_full_disk_is_told(tmp_path: Path, suite: Write) -> None:
    done = with_mounts(ON_SMALL_DISK, str(tmp_path), sys.executable, FETCH, str(suite("gsm8k")))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("custom_modules.files.DiskFullError: ") and "No space left on device; make room" in last


def test_every_known_set_is_of_a_suite() -> None:
    """So that ``--suite all`` fetches all that is known, and nothing else is asked for."""
    entries = [entry for name in suite_names() for entry in load_suite(name).entries]
    found = {(each.repository, each.config) for entry in entries for each in data_sets_of(entry.task)}
    assert found == {(each.repository, each.config) for each in DATA_SETS.values()}


def test_a_damaged_manifest_is_named(tmp_path: Path, suite: Write) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "data": {"a/b": {"revision": 3}}}))
    with pytest.raises(UserError, match=r"manifest\.json: not as it was written .*--fetch"):
        fetch([suite("gsm8k")], tmp_path, lambda _: None)
