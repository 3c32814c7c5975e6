"""gigatoken gives the reference's ids, or is not used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer

from custom_modules.tokenizer import Tokenizer, fast, load_tokenizer
from custom_modules.tokenizer.fast import (
    NEW_LETTERS,
    FastEncoder,
    ReferenceEncoder,
    fast_json,
    for_newer,
    hostile_texts,
    why_not_fast,
)
from custom_modules.tokenizer.sentencepiece_tokenizer import SentencePieceTokenizer
from tests.support.tokenizers import make_llama_3_like

PIECES = [
    *(
        " ",
        "  ",
        "       ",
        "\n",
        "\t",
        "\x00",
        "\u00a0",
        "\u200b",
        "\ufeff",
        "\u2581",
        "\ufffd",
        "\u0301",
        "é",
        "日本",
    ),
    *(
        "<s>",
        "</s>",
        "<unk>",
        "<0x41>",
        "<|end|>",
        "<|bos|>",
        "👩\u200d👩\u200d👧",
        "\U0010ffff",
        "the",
        "The ",
        "import",
        "==",
        "0",
    ),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25).map("".join)
batches = st.lists(texts, min_size=1, max_size=6)


@cache
def encoders(path: Path) -> tuple[FastEncoder, ReferenceEncoder]:
    tokenizer = load_tokenizer("sentencepiece" if path.suffix == ".model" else "huggingface", path)
    return FastEncoder(fast_json(tokenizer)), ReferenceEncoder(tokenizer)


def assert_same(path: Path, batch: Sequence[str]) -> None:
    (ids, lengths), (expected, counts) = (encoder.encode(batch) for encoder in encoders(path))
    assert np.array_equal(lengths, counts)
    assert np.array_equal(ids, expected)
    assert lengths.sum() == ids.size


@settings(max_examples=300, deadline=None)
@given(batch=batches)
@example(batch=[""])
@example(batch=["", "a", ""])
@example(batch=[" " * 300, "</s><s> </s>"])
def test_a_sentencepiece_model(llama_like: Path, batch: list[str]) -> None:
    assert_same(llama_like, batch)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, byte_level_tokenizer: RustTokenizer) -> Path:
    folder = tmp_path_factory.mktemp("byte_level")
    byte_level_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    return folder / "tokenizer.json"


@settings(max_examples=300, deadline=None)
@given(batch=batches)
@example(batch=["", "<|end|>", ""])
def test_a_byte_level_tokenizer(saved: Path, batch: list[str]) -> None:
    assert_same(saved, batch)


def test_it_is_used_where_it_agrees(llama_like: Path, saved: Path, english: list[str]) -> None:
    assert why_not_fast(load_tokenizer("sentencepiece", llama_like), english) is None
    assert why_not_fast(load_tokenizer("huggingface", saved), english) is None


@pytest.fixture(scope="session")
def llama_3_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama_3")
    make_llama_3_like().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    return folder / "tokenizer.json"


def around(codes: Iterable[int]) -> list[str]:
    """Texts in which it shows whether a character is a letter, a digit or neither."""
    return [form.format(chr(code)) for code in codes for form in ("a{}b", "!!{}!!", "{}1", "!!{}\n", "a{0}{0}b")]


def differing(encoder: FastEncoder, tokenizer: Tokenizer, texts: list[str]) -> list[str]:
    ids, lengths = encoder.encode(texts)
    found = np.split(ids, np.cumsum(lengths)[:-1])
    return [text for text, one in zip(texts, found, strict=True) if one.tolist() != tokenizer.encode(text)]


def test_letters_of_every_version_of_unicode_are_the_references(llama_3_like: Path) -> None:
    """The tables of the two libraries are of different age. Of all characters every 23rd is tried."""
    tokenizer = load_tokenizer("huggingface", llama_3_like)
    some = (code for code in range(0, 0x34000, 23) if not 0xD800 <= code < 0xE000)
    texts = around([*map(ord, NEW_LETTERS.values()), *some])
    encoder = FastEncoder(fast_json(tokenizer), for_newer("huggingface", llama_3_like))
    assert differing(encoder, tokenizer, texts) == []
    assert why_not_fast(tokenizer, texts[:100]) is None


def test_a_letter_that_gigatoken_does_not_know_is_noticed(llama_3_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer("huggingface", llama_3_like)
    unknown = differing(FastEncoder(fast_json(tokenizer)), tokenizer, around(map(ord, NEW_LETTERS.values())))
    monkeypatch.setattr(fast, "for_newer", lambda library, path: None)
    assert (why_not_fast(tokenizer, []) is None) == (not unknown)


class Another(SentencePieceTokenizer):
    """Disagrees with its own JSON on one word."""

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return ids[::-1] if "</s>" in text else ids


def test_it_is_not_used_where_it_does_not(llama_like: Path, english: list[str]) -> None:
    reason = why_not_fast(Another(llama_like), english)
    assert reason is not None
    assert reason.startswith("gigatoken encodes the text that begins with '")
    assert "</s>" in reason


def test_hostile_texts_hold_the_tokenizers_own_special_tokens(llama_like: Path) -> None:
    every = list(hostile_texts(load_tokenizer("sentencepiece", llama_like)))
    assert {"</s>", "a<s>b", "\x00", ""} <= set(every)


def test_memory_is_given_back(llama_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so much text the cache is dropped, and the ids stay the same."""
    monkeypatch.setattr(fast, "RECYCLE_CHARACTERS", 10)
    encoder = FastEncoder(fast_json(load_tokenizer("sentencepiece", llama_like)))
    first = encoder.encode(["one two three four"])[0]
    before = encoder._fast
    assert np.array_equal(encoder.encode(["one two three four"])[0], first)
    assert encoder._fast is not before


def test_without_gigatoken(llama_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gigatoken", None)
    tokenizer: Tokenizer = load_tokenizer("sentencepiece", llama_like)
    assert why_not_fast(tokenizer, []) == "gigatoken is not installed (pip install 'danube-pretrain[data]')"
