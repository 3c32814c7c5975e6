"""A teacher's rows: what comes back of them, where it is found, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from custom_modules.distillation.quantised import dequantise, exceed_one, quantise
from custom_modules.distillation.rows import DataOfRows, Rows, RowsNote, note_file, open_rows, rows_file
from custom_modules.distillation.rows_writer import make_records, publish_rows, reserve_rows, write_shard
from custom_modules.errors import UserError
from custom_modules.files import sha256_of

K, VOCABULARY, LENGTHS = 4, 300, (7, 1, 12)
TOKENS = sum(LENGTHS)
DATA = DataOfRows("b" * 64, "i" * 64, TOKENS, "t" * 64, VOCABULARY)


def distributions(rows: int, k: int, seed: int = 0) -> NDArray[np.float64]:
    """Rows of probabilities of every shape: flat, peaked, of one token, and of less than 1."""
    source = np.random.default_rng(seed)
    sharpness = source.choice([0.01, 0.1, 1, 30], size=(rows, 1))
    logits = source.normal(size=(rows, k)) / sharpness
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities * source.choice([1, 1, 0.37], size=(rows, 1))


@pytest.mark.parametrize("k", [1, 2, 16, 64])
def test_quantised_probabilities_are_off_by_less_than_is_said_and_never_above_1(k: int) -> None:
    given = distributions(20_000, k)
    codes = quantise(given)
    back = dequantise(codes).astype(np.float64)
    exact = (codes.astype(np.float64) / 255) ** 2
    assert ((codes.astype(int) ** 2).sum(axis=1) <= 255**2).all() and not exceed_one(codes).any()
    assert np.abs(back - exact).max() < 1e-7
    positive = given > 0
    assert (np.abs(exact - given)[positive] < (2 * np.sqrt(given) / 255)[positive]).all()
    assert np.abs(exact - given).max() < 0.0079


def test_the_ends_come_back_exactly() -> None:
    given = np.array([[1, 0, 0], [0, 0, 0], [0.25, 0.25, 0.5], [1.0000001, 0, 0], [1 / 260_200, 0, 0]])
    back = dequantise(quantise(given))
    assert back[0].tolist() == [1, 0, 0] and back[3].tolist() == [1, 0, 0]
    assert not back[1].any() and not back[4].any()


def test_rows_that_add_up_to_more_than_1_are_told() -> None:
    assert exceed_one(np.array([[255, 1], [255, 0], [180, 180], [181, 181]], np.uint8)).tolist() == [
        True,
        False,
        False,
        True,
    ]


def write(folder: Path, teacher: str = "mistral") -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Write rows in three shards, out of order and one of them twice; returns what they say."""
    source = np.random.default_rng(3)
    ids = source.integers(0, VOCABULARY, (TOKENS, K))
    probabilities = distributions(TOKENS, K, seed=5)
    rows, aside = rows_file(folder / "part", teacher), folder / "aside"
    reserve_rows(aside, TOKENS, K)
    for first, end in ((8, 20), (0, 7), (7, 8), (0, 7)):
        write_shard(aside, first, make_records(ids[first:end], probabilities[first:end]))
    hashes = (DATA.bin_sha256, DATA.idx_sha256, DATA.tokenizer_sha256)
    digest = sha256_of(aside)
    publish_rows(aside, rows, RowsNote(teacher, "m", K, TOKENS, TOKENS - len(LENGTHS), 17, *hashes, VOCABULARY, digest))
    return ids, probabilities


def opened(folder: Path, data: DataOfRows = DATA) -> Rows:
    pointers = np.array([0, *np.cumsum(LENGTHS[:-1])], np.int64) * 2
    return open_rows(folder / "part", "mistral", data, pointers, token_bytes=2)


def test_rows_are_found_by_document_and_offset(tmp_path: Path) -> None:
    ids, probabilities = write(tmp_path)
    rows = opened(tmp_path)
    for document, (first, length) in enumerate(zip((0, 7, 8), LENGTHS, strict=True)):
        for offset in (0, length // 2):
            found, said = rows.rows(document, offset, length - offset)
            here = slice(first + offset, first + length)
            assert found.dtype == np.int32 and said.dtype == np.float32
            assert np.abs(said - probabilities[here]).max() < 0.0079
            assert np.array_equal(found, np.where(said > 0, ids[here], 0))
    assert rows.note.share == 1


def test_an_unfinished_file_is_no_rows(tmp_path: Path) -> None:
    reserve_rows(tmp_path / "part.bin", TOKENS, K)
    with pytest.raises(UserError, match=r"^distillation.teachers.mistral: there is no .*danube teach"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (replace(DATA, tokenizer_sha256="u" * 64), "of another tokenizer"),
        (replace(DATA, vocab_size=400), "of another tokenizer"),
        (replace(DATA, bin_sha256="c" * 64), "of other data"),
        (replace(DATA, idx_sha256="c" * 64), "of other data"),
    ],
)
def test_rows_of_something_else_are_refused(data: DataOfRows, message: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        opened(tmp_path, data)
    assert str(error.value).startswith(f"{tmp_path}/part.mistral.rows: ") and "danube teach" in str(error.value)


def test_rows_cut_short_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = rows_file(tmp_path / "part", "mistral")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"part.mistral.rows: cut short: 239 bytes, but 20 tokens of 12 bytes take 240"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"teacher": 1}', None])
def test_rows_without_a_sound_note_are_refused(content: bytes | None, tmp_path: Path) -> None:
    write(tmp_path)
    path = note_file(rows_file(tmp_path / "part", "mistral"))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=r"part.mistral.rows.json: .*danube teach"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("at", "byte", "message"),
    [(2 * K, 255, "the probabilities of token 9 add up to .* above 1"), (1, 0xFF, "token 9 has id")],
)
def test_damaged_rows_are_refused_where_they_are_read(at: int, byte: int, message: str, tmp_path: Path) -> None:
    write(tmp_path)
    path = rows_file(tmp_path / "part", "mistral")
    content = bytearray(path.read_bytes())
    content[9 * 3 * K + at] = byte
    content[9 * 3 * K + 2 * K + 1] = 200
    path.write_bytes(content)
    rows = opened(tmp_path)
    rows.rows(0, 0, 7)
    with pytest.raises(UserError, match=message):
        rows.rows(2, 0, 12)
