"""Counted words, written and read in parts."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from data_prep.vocabulary.word_table import (
    HASHES,
    WordCounts,
    join,
    read_between,
    read_pieces,
    size_of,
    write_table,
)


def made(seed: int, number: int) -> WordCounts:
    source = random.Random(seed)
    words = [f"word {index} {'é' * (index % 5)}".encode() for index in source.sample(range(1000), number)]
    return WordCounts(words, *np.array([[source.randrange(10**10) for _ in words] for _ in range(2)], np.int64))


def as_counter(*parts: WordCounts) -> Counter[tuple[bytes, str]]:
    found: Counter[tuple[bytes, str]] = Counter()
    for part in parts:
        for word, counted, held_out in zip(part.words, part.counted.tolist(), part.held_out.tolist(), strict=True):
            found[word, "counted"] += counted
            found[word, "held_out"] += held_out
    return found


def test_every_word_is_in_one_part_of_the_hashes(tmp_path: Path) -> None:
    tables = [made(seed, 700) for seed in range(3)]
    for number, table in enumerate(tables):
        write_table(tmp_path / str(number), table)
        assert size_of(tmp_path / str(number)) == 700
    ends = [HASHES * number // 7 for number in range(8)]
    joined = []
    for begin, end in pairwise(ends):
        joined.append(join([read_between(tmp_path / str(number), begin, end) for number in range(3)]))
    words = [word for part in joined for word in part.words]
    assert len(words) == len(set(words)) == len({word for table in tables for word in table.words})
    assert as_counter(*joined) == as_counter(*tables)
    assert all(len(part.words) > 50 for part in joined)


def test_a_table_is_read_in_pieces(tmp_path: Path) -> None:
    table = made(5, 100)
    write_table(tmp_path / "table", table)
    pieces = list(read_pieces(tmp_path / "table", 33))
    assert [len(piece.words) for piece in pieces] == [33, 33, 33, 1]
    assert as_counter(*pieces) == as_counter(table)
    assert sum(int(piece.sizes.sum()) for piece in pieces) == sum(map(len, table.words))


def test_a_table_may_be_empty(tmp_path: Path) -> None:
    nothing = WordCounts([], np.empty(0, np.int64), np.empty(0, np.int64))
    write_table(tmp_path / "table", nothing)
    assert size_of(tmp_path / "table") == 0 and list(read_pieces(tmp_path / "table", 5)) == []
    assert read_between(tmp_path / "table", 0, HASHES).words == join([]).words == []
