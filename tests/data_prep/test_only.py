"""`danube prepare --only STEP`: every record is kept or removed, with all its fields, whatever the format."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow
import pytest
from pyarrow import parquet

from custom_modules.config.load import load_config
from custom_modules.data.manifest import read_manifest
from data_prep.only import run_step
from data_prep.prepare import run
from data_prep.steps.filter_shard import read_lines
from tests.support.commands import run_danube

PROSE = "It is said that the first of them was built by hand, and that no one knew what it was for. "


def read(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def without_note(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "danube"}


@pytest.fixture
def records() -> list[dict[str, Any]]:
    """Some pairs of texts of the same words, and a few that are short."""
    texts = [f"{PROSE * (number // 2 % 4)}Number {number // 2}" + "!" * (number % 2) for number in range(40)]
    return [
        {"id": number, "text": text, "meta": {"tags": ["a", None], "score": 0.5}, "url": f"https://x.org/{number}"}
        for number, text in enumerate(texts)
    ]


@pytest.fixture
def folder(tmp_path: Path, records: list[dict[str, Any]]) -> Path:
    """JSON lines with an empty line and a damaged one, Parquet, and plain text."""
    folder = tmp_path / "text"
    folder.mkdir()
    lines = [orjson.dumps(record) for record in records[:25]]
    (folder / "a.jsonl").write_bytes(b"\n".join([*lines[:10], b"", b"{damaged", *lines[10:]]))
    parquet.write_table(pyarrow.Table.from_pylist(records[25:]), folder / "b.parquet", row_group_size=4)
    (folder / "c.txt").write_text("a text of its own")
    return folder


def danube(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_danube("prepare", "--config-name", "danube_rehearsal", *arguments)


@pytest.mark.parametrize(
    ("step", "options"),
    [("exact", "{}"), ("gopher_quality", "{words: regex, min_doc_words: 30, max_bullet_lines_ratio: 1}")],
)
def test_every_record_is_kept_or_removed_with_all_its_fields(
    step: str, options: str, folder: Path, records: list[dict[str, Any]], tmp_path: Path
) -> None:
    """One step that looks at a document alone, one that looks at all; no tokenizer, and no other step that is on."""
    given = [f"data.input={folder}", f"data.dir={tmp_path}/data", "data.train_tokenizer=false", "data.workers=1"]
    done = danube("--only", step, f"data.steps.{step}={options}", "data.steps.url={}", *given)
    assert done.returncode == 0, done.stderr
    assert "a.jsonl:12: invalid JSON" in done.stderr
    out = tmp_path / "data/only" / step
    kept, removed = read(out / "kept.jsonl"), read(out / "removed.jsonl")
    assert not read(out / "changed.jsonl")
    assert kept == [without_note(record) for record in kept]
    for found in (kept, removed):
        ids = [record["id"] for record in found if "id" in record]
        assert ids == sorted(ids)
        assert [without_note(record) for record in found if "id" in record] == [records[number] for number in ids]
    assert len(kept) + len(removed) == len(records) + 1
    assert {record["danube"]["step"] for record in removed} == {step}
    assert all(record["danube"]["reason"] for record in removed)
    if step == "exact":
        assert [record["id"] for record in removed] == list(range(1, 40, 2))
    else:
        assert all(len(record["text"].split()) < 30 for record in removed) and removed
        assert all(len(record["text"].split()) >= 30 for record in kept) and kept
    assert sorted(path.name for path in (tmp_path / "data/only").iterdir()) == [step]


@pytest.mark.slow
def test_it_removes_what_prepare_with_the_step_removes(
    folder: Path, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    config = make_config(folder, "data.steps.exact={}", "data.shard_bytes=1000", "data.validation_fraction=0.6")
    out = run_step(config, "exact")
    removed = [record["text"] for record in read(out / "removed.jsonl")]
    kept = [record["text"] for record in read(out / "kept.jsonl")]
    run(config)
    aside = [line for path in sorted(Path(config.data.dir, "removed").iterdir()) for line in read_lines(path)]
    assert sorted(removed) == sorted(orjson.loads(line)["text"] for line in aside) != []
    described = read_manifest(Path(config.data.dir))
    assert described is not None
    assert len(kept) == sum(file["documents"] for file in described.sources)
    assert (out / "kept.jsonl").is_file()


def test_a_step_that_rewrites_keeps_what_was_there_beside_it(tmp_path: Path) -> None:
    fact = "Alan Turing was born on 23 June 1912."
    text = f"{PROSE}\n\n{fact}\n\n{PROSE}"
    (tmp_path / "a.jsonl").write_bytes(orjson.dumps({"text": text, "id": 7}) + b"\n" + orjson.dumps({"text": fact}))
    done = danube("--only", "facts", f"data.input={tmp_path}/a.jsonl", f"data.dir={tmp_path}/data")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "data/only/facts"
    (kept,), (removed,), (changed,) = (read(out / f"{name}.jsonl") for name in ("kept", "removed", "changed"))
    assert fact not in kept["text"] and PROSE.strip() in kept["text"] and kept["id"] == 7
    assert removed["text"] == fact
    assert without_note(changed) == {"text": text, "id": 7} and changed["danube"]["left"] == kept["text"]


def test_a_second_run_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for texts in (["one", "One", "two"], ["three"]):
        (tmp_path / "a.jsonl").write_bytes(b"\n".join(orjson.dumps({"text": text}) for text in texts))
        config = load_config("danube_rehearsal", [f"data.input={tmp_path}/a.jsonl", f"data.dir={tmp_path}/data"])
        out = run_step(config, "exact")
    assert [record["text"] for record in read(out / "kept.jsonl")] == ["three"]
    assert not read(out / "removed.jsonl")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("gopher_qualty", "--only gopher_qualty: no such step; did you mean gopher_quality?"),
        ("decontaminate", "data.steps.decontaminate.files: not set"),
    ],
)
def test_what_it_refuses(step: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    done = danube("--only", step, f"data.input={tmp_path}/a.txt", f"data.dir={tmp_path}/data")
    assert done.returncode == 2
    assert says in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()
