"""Joining shards: the datasets are the documents in their order, whenever and however often it was killed."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from custom_modules.data.index import open_index
from custom_modules.data.manifest import Part
from custom_modules.files import sha256_of
from data_prep.output.merge import merge_shards
from data_prep.tokenize.assignment import Group
from data_prep.tokenize.tokenize_shard import DOCUMENT_DTYPE
from tests.support import kills
from tests.support.kills import KillAt

DESTINATIONS: list[tuple[str, str, Group]] = [
    ("stage1", "web", "train"),
    ("stage1", "web", "validation"),
    ("stage2", "web", "train"),
    ("stage2", "web", "validation"),
]
DTYPE = np.dtype("uint16")
NOTE = r"os\.rename merge\.json"


def write_shards(folder: Path, seed: int, number: int = 40, documents: int = 1_500) -> list[Path]:
    """Shards of documents of 1 to 4 tokens; nothing goes to the last destination."""
    source, shards = np.random.default_rng(seed), []
    for index in range(number):
        described = np.zeros(documents, DOCUMENT_DTYPE)
        described["length"] = source.integers(1, 5, documents)
        described["destination"] = np.sort(source.integers(0, len(DESTINATIONS) - 1, documents))
        shards.append(folder / f"{seed}_{index}")
        shards[-1].mkdir(parents=True)
        described.tofile(shards[-1] / "documents.bin")
        source.integers(0, 65_000, int(described["length"].sum())).astype(DTYPE).tofile(shards[-1] / "tokens.bin")
    return shards


def expected(shards: Sequence[Path]) -> dict[int, list[list[int]]]:
    """The documents of every destination, one by one."""
    found: dict[int, list[list[int]]] = {number: [] for number in range(len(DESTINATIONS))}
    for shard in shards:
        tokens = np.fromfile(shard / "tokens.bin", DTYPE).tolist()
        for length, destination in np.fromfile(shard / "documents.bin", DOCUMENT_DTYPE).tolist():
            found[destination].append(tokens[:length])
            del tokens[:length]
    return found


def assert_merged(folder: Path, parts: dict[tuple[str, str, Group], Part], shards: Sequence[Path]) -> None:
    wanted = {DESTINATIONS[number]: documents for number, documents in expected(shards).items() if documents}
    assert parts.keys() == wanted.keys()
    for destination, documents in wanted.items():
        part, prefix = parts[destination], folder / parts[destination].prefix
        content = prefix.with_suffix(".bin").read_bytes()
        assert content == b"".join(np.array(document, DTYPE).tobytes() for document in documents)
        assert part.sha256 == {"bin": hashlib.sha256(content).hexdigest(), "idx": sha256_of(prefix.with_suffix(".idx"))}
        index = open_index(prefix.with_suffix(".idx"))
        assert index.lengths.tolist() == list(map(len, documents))
        assert (part.documents, part.tokens, part.bytes["bin"]) == (len(documents), index.tokens, len(content))


def merge_watched(folder: Path, shards: Sequence[Path], moment: KillAt) -> int:
    """Merge in a process that is killed at a moment; return its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ |= moment.environment()
            kills.watch()
            merge_shards(shards, folder, DESTINATIONS, DTYPE)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(folder: Path, shards: Sequence[Path], moment: KillAt) -> None:
    assert merge_watched(folder, shards, moment) == -signal.SIGKILL


def test_every_destination_has_its_documents_in_their_order(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", 0, number=3)
    assert_merged(tmp_path / "out", merge_shards(shards, tmp_path / "out", DESTINATIONS, DTYPE), shards)


@pytest.mark.slow
def test_killed_before_any_operation_on_a_file_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", 0, number=20, documents=100)
    kills_made = 0
    while code := merge_watched(out := tmp_path / str(kills_made), shards, KillAt(str(out), ".*", kills_made + 1)):
        assert code == -signal.SIGKILL
        assert_merged(out, merge_shards(shards, out, DESTINATIONS, DTYPE), shards)
        kills_made += 1
    assert_merged(out, merge_shards(shards, out, DESTINATIONS, DTYPE), shards)
    files_a_dataset, files_a_note = 4, 3  # .bin, .lengths, .idx, and .lengths removed; a note, its name, its folder
    assert kills_made >= len(DESTINATIONS) * files_a_dataset + (1 + 1 + len(DESTINATIONS)) * files_a_note


def test_finished_and_noted_it_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards, out = write_shards(tmp_path / "shards", 0), tmp_path / "out"
    parts = merge_shards(shards, out, DESTINATIONS, DTYPE)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    for shard in shards:
        (shard / "documents.bin").unlink()
    capsys.readouterr()
    assert merge_shards(shards, out, DESTINATIONS, DTYPE) == parts
    assert "joined by an earlier run: 40 of 40 shards" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == before


def test_a_dataset_that_is_gone_is_made_again_and_the_others_stay(tmp_path: Path) -> None:
    """As when a kill comes while finished datasets are put in place."""
    shards, out = write_shards(tmp_path / "shards", 0), tmp_path / "out"
    parts = merge_shards(shards, out, DESTINATIONS, DTYPE)
    (out / "stage1" / "web_train.bin").unlink()
    stays = (out / "stage2" / "web_train.bin").stat().st_mtime_ns
    assert merge_shards(shards, out, DESTINATIONS, DTYPE) == parts
    assert (out / "stage2" / "web_train.bin").stat().st_mtime_ns == stays
    assert_merged(out, parts, shards)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"{"), lambda path: path.write_bytes(b'{"key": 1}')])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, damage: object) -> None:
    shards, out = write_shards(tmp_path / "shards", 0), tmp_path / "out"
    killed(out, shards, KillAt(str(out), NOTE, nth=3))
    assert callable(damage)
    damage(out / "merge.json")
    assert_merged(out, merge_shards(shards, out, DESTINATIONS, DTYPE), shards)


def test_files_that_are_shorter_than_the_record_says_are_begun_again(tmp_path: Path) -> None:
    shards, out = write_shards(tmp_path / "shards", 0), tmp_path / "out"
    killed(out, shards, KillAt(str(out), NOTE, nth=3))
    with (out / "stage1" / "web_train.bin").open("r+b") as file:
        file.truncate(1_000)
    assert_merged(out, merge_shards(shards, out, DESTINATIONS, DTYPE), shards)


def test_what_a_killed_merge_left_is_not_taken_for_other_data(tmp_path: Path) -> None:
    """Killed, killed over other shards when much was written over but nothing noted, then the first shards again."""
    first, other = write_shards(tmp_path / "shards", 0), write_shards(tmp_path / "shards", 1, documents=6_000)
    out = tmp_path / "out"
    killed(out, first, KillAt(str(out), NOTE, nth=3))
    killed(out, other, KillAt(str(tmp_path / "shards"), r"open H_H/tokens\.bin", nth=16))
    assert_merged(out, merge_shards(first, out, DESTINATIONS, DTYPE), first)
