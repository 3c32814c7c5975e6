"""What `danube inspect` shows of prepared data, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from custom_modules.data.index import open_index
from custom_modules.data.inspect import find_tokenizer, inspect, list_datasets
from custom_modules.errors import UserError

TRAIN = "stage1/text_train"


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "data")


def token_ids(prefix: Path, document: int) -> list[int]:
    begin, end = open_index(prefix.with_suffix(".idx")).boundaries(document, document + 1)
    return np.fromfile(prefix.with_suffix(".bin"), "<u2")[begin:end].tolist()


@pytest.mark.parametrize("suffix", ["", ".bin", ".idx"])
def test_documents_are_the_prepared_texts(prepared: Path, suffix: str) -> None:
    texts = {json.loads(line)["text"] for line in (prepared.parent / "text.jsonl").read_text().splitlines()}
    heading, *documents = inspect(prepared / f"{TRAIN}{suffix}", 2, 3, 10_000)
    index = open_index(prepared / f"{TRAIN}.idx")
    assert heading == f"{prepared / TRAIN}: {index.documents:,} documents, {index.tokens:,} tokens, uint16"
    for number, shown in enumerate(documents, 2):
        title, text = shown.removeprefix("\n").split("\n")
        assert title == f"document {number}: {index.lengths[number]} tokens"
        assert text.endswith("[EOD]")
        assert text.removesuffix("[EOD]") in texts
    assert len(documents) == 3


def test_fewer_documents_than_asked_for(prepared: Path) -> None:
    last = open_index(prepared / f"{TRAIN}.idx").documents - 1
    assert len(list(inspect(prepared / TRAIN, last, 5))) == 2


def test_long_documents_are_cut(prepared: Path) -> None:
    _, shown = inspect(prepared / TRAIN, max_chars=20)
    text = shown.splitlines()[2]
    assert text.endswith(" [cut after 20 characters]")
    assert len(text) == len(" [cut after 20 characters]") + 20


def test_what_is_no_text_is_marked(data: Path) -> None:
    ids = np.fromfile(data / f"{TRAIN}.bin", "<u2")
    escape = 3 + 0x1B
    ids[:3] = [escape, 600, 2]
    ids[open_index(data / f"{TRAIN}.idx").lengths[0] - 1] = 5
    ids.tofile(data / f"{TRAIN}.bin")
    _, shown = inspect(data / TRAIN)
    assert "tokens, without EOD (2) at its end\n\\x1b[600: beyond the vocabulary][EOD]" in shown


def test_ids_where_there_is_no_tokenizer(data: Path) -> None:
    (data / "manifest.json").write_text("{}")
    assert find_tokenizer(data / TRAIN) is None
    heading, shown = inspect(data / TRAIN, 4, max_chars=10_000)
    assert "shown as ids, for no manifest above names it" in heading
    assert shown.splitlines()[2] == " ".join(map(str, token_ids(data / TRAIN, 4)))


def test_a_damaged_tokenizer_is_told(data: Path) -> None:
    (data / "tokenizer/tokenizer.model").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.model: no such file"):
        inspect(data / TRAIN)


def test_a_folder_lists_its_datasets(data: Path) -> None:
    heading, *rows = list(inspect(data))
    assert heading.split() == ["dataset", "stage", "split", "source", "documents", "tokens", "dtype"]
    assert [row.split()[1:4] for row in rows] == [
        [stage, split, "text"] for stage in ("stage1", "stage2") for split in ("train", "validation")
    ]
    index = open_index(data / f"{TRAIN}.idx")
    assert rows[0].split()[4:] == [f"{index.documents:,}", f"{index.tokens:,}", "uint16"]
    named = [row.split()[0] for row in rows]
    (data / "manifest.json").unlink()
    assert [(row.split()[0], row.split()[4:]) for row in list_datasets(data)[1:]] == [
        (name, row.split()[4:]) for name, row in zip(named, rows, strict=True)
    ]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (TRAIN, {"document": -1}, r"--document -1: .*text_train has \d+ documents"),
        (TRAIN, {"document": 10_000}, r"--document 10000: .*text_train has \d+ documents"),
        (TRAIN, {"count": 0}, "--count 0: nothing to show"),
        (TRAIN, {"max_chars": 0}, "--max-chars 0: nothing to show"),
        ("", {"document": 0}, "--document 0: .* is a folder"),
        ("raw", {}, r"raw\.idx: cannot be read"),
        ("tokenizer", {}, "tokenizer: no dataset in it"),
    ],
)
def test_what_cannot_be_shown_is_refused(prepared: Path, name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        inspect(prepared / name, **options)
    assert "\n" not in str(caught.value)


def test_an_index_that_does_not_fit_is_refused(data: Path) -> None:
    path = data / f"{TRAIN}.bin"
    path.write_bytes(path.read_bytes()[:1000])
    last = open_index(data / f"{TRAIN}.idx").documents - 1
    with pytest.raises(UserError, match=r"reach to token \d+ of text_train\.bin, which has 500"):
        inspect(data / TRAIN, last)
    path.unlink()
    with pytest.raises(UserError, match=r"text_train\.bin: cannot be read"):
        inspect(data / TRAIN)
