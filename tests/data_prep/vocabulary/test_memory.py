"""The memory of counting does not grow with the text, nor with how many words are different."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from benchmarks.pruning import write_text
from data_prep.input.input_files import InputFile
from data_prep.input.units import split_units
from data_prep.vocabulary import count_corpus as counting
from data_prep.vocabulary import count_words, uses
from data_prep.vocabulary.word_table import read_pieces
from tests.support.pools import Here

SMALL = 2_000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of some thousand words is one of many pieces."""
    monkeypatch.setattr(count_words, "_WORDS_IN_MEMORY", SMALL)
    monkeypatch.setattr(counting, "_WORDS_OF_A_TABLE", SMALL)
    monkeypatch.setattr(uses, "_WORDS_AT_ONCE", SMALL)
    peaks, words = [], []
    for number, size in enumerate((200_000, 400_000, 1_600_000)):
        folder = tmp_path / str(size)
        folder.mkdir()
        write_text(folder / "a.jsonl", size)
        units = split_units([InputFile.of(folder / "a.jsonl")], 400_000)
        if number:  # the first imports what there is to import
            tracemalloc.start()
        try:
            tables, _ = counting.count_corpus(units, "text", folder, Here())
            counter = uses.UseCounter(tables, folder / "vocabularies", Here())
            counter.count([bytes([byte]) for byte in range(256)])
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        words.append(sum(len(piece.words) for table in tables for piece in read_pieces(table, SMALL)))
    assert words[2] > 2.5 * words[1] > 10 * SMALL
    assert peaks[2] < 2 * peaks[1], peaks
