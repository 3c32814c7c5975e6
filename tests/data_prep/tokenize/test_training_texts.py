"""A tokenizer is trained on all documents, or on whole ones from all over the input that are the same for everybody."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from data_prep.input.input_files import find_input_files
from data_prep.input.units import Unit, split_units
from data_prep.tokenize import training_texts as module
from data_prep.tokenize.training_texts import training_texts
from tests.support.pools import Here

MOST = 60_000


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRAINING_BYTES", MOST)


@pytest.fixture
def sources(
    tmp_path: Path, make_texts: Callable[..., list[str]], write_jsonl: Callable[..., Path]
) -> dict[str, list[str]]:
    """Texts of two sources, in files; the second has a twentieth of the first."""
    texts = make_texts(3_150, seed=3)
    found = {"web": texts[:3_000], "books": texts[3_000:]}
    for name, some in found.items():
        (tmp_path / name).mkdir()
        for number in range(3):
            write_jsonl(tmp_path / name / f"{number}.jsonl", some[number::3])
    return found


def units(folder: Path, shard_bytes: int) -> list[Unit]:
    files = find_input_files({name: [folder / name] for name in ("web", "books")}, folder / "none").files
    return split_units(files, shard_bytes)


def test_few_texts_are_taken_all_of_them(
    sources: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = list(training_texts(units(tmp_path, 10**6), "text", Here()))
    assert sorted(texts) == sorted([*sources["web"], *sources["books"]])
    assert "all 3,150 documents" in capsys.readouterr().err


def test_of_many_whole_ones_of_every_source_and_part_are_taken(
    bounded: None, sources: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = list(training_texts(units(tmp_path, 10**6), "text", Here()))
    size = sum(len(text.encode()) for text in texts)
    assert MOST * 0.9 < size <= MOST
    every = [*sources["web"], *sources["books"]]
    assert set(texts) <= set(every)
    positions = sorted(every.index(text) for text in texts)
    for begin in range(0, 3_000, 600):
        assert sum(begin <= position < begin + 600 for position in positions) > 0.1 * len(texts)
    books = sum(len(text.encode()) for text in texts if text in sources["books"])
    assert 0.02 < books / size < 0.08
    said = re.search(r"training a tokenizer on ([\d,]+) of 3,150 documents", capsys.readouterr().err)
    assert said and int(said[1].replace(",", "")) == len(texts)


def test_the_choice_is_the_same_whatever_the_cut_and_the_order_of_the_work(
    bounded: None, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    choices = [list(training_texts(units(tmp_path, size), "text", Here(size))) for size in (10**6, 250_000, 10**9)]
    assert choices[0] == choices[1] == choices[2]


def test_a_text_that_is_there_many_times_is_taken_once(
    bounded: None, sources: dict[str, list[str]], tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    copies = [text for text in sources["web"] for _ in range(5)]
    random.Random(1).shuffle(copies)
    write_jsonl(tmp_path / "web" / "copies.jsonl", copies)
    texts = list(training_texts(units(tmp_path, 250_000), "text", Here()))
    assert len(texts) == len(set(texts)) > 100


def test_a_document_that_would_leave_no_room_is_left_out_and_said(
    bounded: None,
    sources: dict[str, list[str]],
    tmp_path: Path,
    write_jsonl: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_jsonl(tmp_path / "books" / "long.jsonl", ["long " * 9_000])
    texts = list(training_texts(units(tmp_path, 10**6), "text", Here()))
    assert not any(text.startswith("long long") for text in texts) and len(texts) > 100
    assert "; 1 document of more than 0.0075 MB left out" in capsys.readouterr().err


def test_nothing_but_long_documents_is_an_error(
    bounded: None, tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    for name in ("web", "books"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "long.jsonl", [f"{name} " * 20_000])
    with pytest.raises(UserError, match=r"^data\.train_tokenizer=true: every document has more than 7,500 bytes"):
        list(training_texts(units(tmp_path, 10**6), "text", Here()))
