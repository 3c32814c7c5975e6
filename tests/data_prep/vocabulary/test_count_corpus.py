"""All words of a corpus, whatever the units, the workers and the memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from data_prep.input.input_files import InputFile
from data_prep.input.units import split_units
from data_prep.vocabulary import count_corpus as counting
from data_prep.vocabulary import count_words
from data_prep.vocabulary.word_table import read_pieces
from data_prep.vocabulary.words import stretches, words
from tests.support.pools import Here

Counts = dict[bytes, tuple[int, int]]


@pytest.fixture(scope="module")
def file(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], write_jsonl: Callable[[Path, list[str]], Path]
) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("text") / "a.jsonl", documents)


def counts_of(tables: Iterable[Path]) -> Counts:
    found: Counts = {}
    for table in tables:
        for piece in read_pieces(table, 1000):
            for word, counted, held_out in zip(
                piece.words, piece.counted.tolist(), piece.held_out.tolist(), strict=True
            ):
                assert word not in found, "a word is in one table"
                found[word] = counted, held_out
    return found


def count(file: Path, work: Path, seed: int = 0, unit_bytes: int = 10**8) -> Counts:
    units = split_units([InputFile.of(file)], unit_bytes)
    tables, counts = counting.count_corpus(units, "text", work, Here(seed))
    assert len(counts) == len(units)
    return counts_of(tables)


def test_each_word_is_counted_once(file: Path, documents: list[str], tmp_path: Path) -> None:
    expected = {True: Counter[str](), False: Counter[str]()}
    for text in documents:
        for stretch in stretches(text):
            expected[count_words.is_held_out(stretch)].update(words(stretch))
    every = {*expected[True], *expected[False]}
    assert count(file, tmp_path) == {word.encode(): (expected[False][word], expected[True][word]) for word in every}


def test_less_memory_makes_more_tables_and_the_same_counts(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = count(file, tmp_path / "much")
    monkeypatch.setattr(count_words, "_WORDS_IN_MEMORY", 1_000)
    monkeypatch.setattr(counting, "_WORDS_OF_A_TABLE", 400)
    assert count(file, tmp_path / "little", seed=1) == expected
    tables = list((tmp_path / "little" / "units").glob("*/0*"))
    assert len(tables) > 4
    assert len(list((tmp_path / "little" / "tables").glob("*/0*"))) > 16


def test_what_is_finished_is_not_counted_again(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = count(file, tmp_path)
    assert "finished by an earlier run" not in capsys.readouterr().err
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")}
    assert count(file, tmp_path, seed=2) == expected
    assert "finished by an earlier run: 2 of 2 units" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")} == made


def test_a_changed_file_is_counted_again(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "a.jsonl"
    other.write_bytes(b'{"text": "one two"}\n')
    assert set(count(other, tmp_path / "work")) == {b"one", b" two"}
    other.write_bytes(b'{"text": "one two three"}\n')
    assert set(count(other, tmp_path / "work")) == {b"one", b" two", b" three"}
    assert (
        len(list((tmp_path / "work" / "units").iterdir())) == len(list((tmp_path / "work" / "tables").iterdir())) == 1
    )
