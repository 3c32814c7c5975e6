"""A vocabulary that is trained here, in tiktoken's form."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_modules.tokenizer.byte_bpe import find_parents
from custom_modules.tokenizer.tiktoken_file import read_tiktoken
from data_prep.vocabulary.train import main, train_tokens
from tests.support.tokenizers import ENGLISH


def test_it_is_read_again_and_merges_make_all_of_it(tmp_path: Path, text_folder: Path) -> None:
    file = tmp_path / "mine.tiktoken"
    assert main([str(file), "--vocab-size", "900", "--on", str(text_folder)]) == 0
    tokens = read_tiktoken(file, is_any=True)
    assert len(tokens) == 900 and set(map(len, tokens[:256])) == {1}
    assert find_parents(tokens).count(None) == 256
    assert b" the" in tokens


def test_too_little_text_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("one two three")
    file = tmp_path / "mine.tiktoken"
    assert main([str(file), "--vocab-size", "900", "--on", str(tmp_path / "a.txt")]) == 2
    assert "--vocab-size 900: this text gives 2" in capsys.readouterr().err
    assert not file.exists()


def test_the_same_texts_give_the_same_tokens() -> None:
    assert train_tokens(ENGLISH, 400) == train_tokens(ENGLISH, 400) == train_tokens(ENGLISH, 500)[:400]
