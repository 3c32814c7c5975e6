"""No character is left out without a word, and a text has one encoding."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.fast import why_not_fast
from custom_modules.tokenizer.huggingface_vocabulary import byte_alphabet
from custom_modules.tokenizer.lost_text import LostTextError
from tests.support.tokenizers import make_byte_level

LETTERS = ["a", "b", "c", " ", "ab"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def bpe(*more: str, **options: Any) -> RustTokenizer:
    vocabulary = {piece: index for index, piece in enumerate([*LETTERS, "</s>", *more])}
    return RustTokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], **options))


def with_suffix() -> RustTokenizer:
    tokenizer = bpe("a</w>", end_of_word_suffix="</w>")
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def byte_letters(missing: str) -> RustTokenizer:
    tokenizer = bpe(*(letter for letter in byte_alphabet() if letter not in (*LETTERS, missing)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def words(model: Any) -> RustTokenizer:
    tokenizer = RustTokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def normalized() -> RustTokenizer:
    tokenizer = bpe("\u2581", "z")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace("x", "z")])
    return tokenizer


Save = Callable[[RustTokenizer], Tokenizer]


@pytest.fixture
def saved(tmp_path: Path) -> Save:
    def save(tokenizer: RustTokenizer) -> Tokenizer:
        tokenizer.add_special_tokens(["</s>"])
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
        return load_tokenizer("huggingface", tmp_path)

    return save


LOSES: dict[str, tuple[Callable[[], RustTokenizer], str, str]] = {
    "no unknown token": (bpe, "ab caab\u00e9c", r"no token for '\u00e9' \(U\+00E9\), character 8 of the text"),
    "it is not there": (lambda: bpe(unk_token="<unk>"), "abdc", "'d', character 3 of"),
    "few byte tokens": (lambda: bpe(*BYTES[:128], byte_fallback=True), "a\tb\u00e9", "'\u00e9', character 4 of"),
    "a byte is missing": (lambda: byte_letters("\u0101"), "ab\u0100 c\x01", r"'\\x01', character 6 of"),
    "a suffix": (with_suffix, "a bd a", "'bd', character 3 of"),
    "normalized": (normalized, "axd", "'d', character 3 of"),
    "words": (lambda: words(models.WordLevel({"a": 0, "</s>": 1}, unk_token="?")), "a b a", "'b', character 3 of"),
    "word pieces": (
        lambda: words(models.WordPiece({"a": 0, "</s>": 1}, unk_token="?")),
        "a bc",
        "'bc', character 3 of",
    ),
    "unigram": (lambda: RustTokenizer(models.Unigram([("a", -1.0), ("b", -2.0)])), "abca", "'c', character 3 of"),
}


@pytest.mark.parametrize("kind", LOSES)
def test_text_that_has_no_token_is_named(kind: str, saved: Save) -> None:
    make, text, message = LOSES[kind]
    tokenizer = saved(make())
    assert tokenizer.loses_text
    assert tokenizer.encode_batch(["a"]) == [tokenizer.encode("a")]
    with pytest.raises(LostTextError) as lost:
        tokenizer.encode(text)
    assert re.search(message, str(lost.value)) or re.search(message, re.sub(r" \(U\+\w+\)", "", str(lost.value)))
    assert "give a tokenizer with byte fallback or an unknown token" in str(lost.value) and "\n" not in str(lost.value)
    assert str(pickle.loads(pickle.dumps(lost.value))) == str(lost.value)
    with pytest.raises(LostTextError) as second:
        tokenizer.encode_batch(["a", text, "a"])
    assert (second.value.index, str(second.value)) == (1, str(lost.value))
    tokenizer.check([text, "a"])
    assert "it has no token for some characters" in (why_not_fast(tokenizer, []) or "")


LOSES_NOTHING = {
    "unknown token": lambda: bpe("<unk>", unk_token="<unk>"),
    "byte fallback": lambda: bpe(*BYTES, byte_fallback=True),
    "byte-level": make_byte_level,
    "words": lambda: words(models.WordLevel({"a": 0, "?": 1, "</s>": 2}, unk_token="?")),
    "unigram": lambda: RustTokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)),
}


@pytest.mark.parametrize("kind", LOSES_NOTHING)
def test_a_tokenizer_that_loses_nothing_encodes_as_the_library_does(kind: str, saved: Save) -> None:
    tokenizer = saved(LOSES_NOTHING[kind]())
    library = RustTokenizer.from_file(str(tokenizer.path))
    library.no_truncation()
    library.no_padding()
    assert not tokenizer.loses_text
    for text in ("ab", "a\u00e9b c", "d \U0001f600"):
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids


def test_the_model_says_what_is_unknown_if_nothing_beside_it_does(saved: Save) -> None:
    tokenizer = bpe("<unk>", unk_token="<unk>", fuse_unk=True)
    tokenizer.add_special_tokens(["<unk>"])
    loaded = saved(tokenizer)
    assert loaded.unk_id == 6
    assert loaded.encode("a<unk>b") == [0, 6, 1]
    assert saved(RustTokenizer(models.Unigram([("a", -1.0), ("?", 0.0)], 1))).unk_id == 1


def test_dropout_is_off(saved: Save) -> None:
    tokenizer = make_byte_level()
    plain = saved(make_byte_level()).encode("the value of the expression " * 20)
    tokenizer.model.dropout = 0.5
    loaded = saved(tokenizer)
    assert json.loads(loaded.path.read_bytes())["model"]["dropout"] == 0.5
    for _ in range(3):
        assert loaded.encode("the value of the expression " * 20) == plain
    assert loaded.encode_as_exported("the value of the expression " * 20) == plain
    assert loaded.to_json()["model"]["dropout"] is None
    assert why_not_fast(loaded, ["the value of the expression " * 20]) is None


@pytest.mark.parametrize(
    ("tokenizer", "remedy"),
    [
        (
            RustTokenizer(models.Unigram([("<unk>", 0.0), ("</s>", -1.0), ("a", -2.0)], 0)),
            "give the SentencePiece model",
        ),
        (words(models.WordLevel({"?": 0, "stop": 1}, unk_token="?")), "take it out of the vocabulary of its model"),
        (bpe("<unk>", unk_token="<unk>"), "mark that token as special"),
    ],
    ids=["unigram", "words", "added"],
)
def test_the_remedy_for_a_literal_that_becomes_a_control_token_is_one_that_helps(
    tokenizer: RustTokenizer, remedy: str, tmp_path: Path
) -> None:
    token = "stop" if "stop" in tokenizer.get_vocab() else "</s>"
    if remedy.startswith("mark"):
        tokenizer.add_tokens([token])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": token}))
    with pytest.raises(
        UserError, match=f"turns {token} in a text into special token .*; .*{remedy}.*, or give another"
    ):
        load_tokenizer("huggingface", tmp_path)
