"""tiktoken's vocabularies as a tokenizer.json, against tiktoken itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
import tiktoken
from hypothesis import example, given, settings
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer

from custom_modules.tokenizer import load_tokenizer
from custom_modules.tokenizer.byte_bpe import END_OF_TEXT, find_parents, to_json, write_tokenizer
from custom_modules.tokenizer.fast import FastEncoder, fast_json, for_newer, hostile_texts, why_not_fast
from data_prep.vocabulary.train import train_tokens
from tests.support.tiktoken_files import cl100k_tokens, encoding_of, hard_texts, odd_texts
from tests.support.tokenizers import ENGLISH


@pytest.fixture(scope="module")
def tokens() -> list[bytes]:
    return train_tokens(ENGLISH, 1500)


def made_of(tokens: Sequence[bytes], is_whole: bool = False) -> RustTokenizer:
    tokenizer = RustTokenizer.from_buffer(orjson.dumps(to_json(tokens, is_whole)))
    tokenizer.encode_special_tokens = True
    return tokenizer


def ids(tokenizer: RustTokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


@pytest.fixture(scope="module")
def both(tokens: list[bytes]) -> tuple[RustTokenizer, tiktoken.Encoding]:
    """Ours, and tiktoken."""
    return made_of(tokens), encoding_of(tokens)


@settings(max_examples=200, deadline=None)
@given(text=odd_texts)
@example(text="")
@example(text="a\n  ")
@example(text=" \n \n ")
def test_the_ids_are_those_of_tiktoken(both: tuple[RustTokenizer, tiktoken.Encoding], text: str) -> None:
    assert ids(both[0], text) == both[1].encode_ordinary(text)


def test_real_and_hostile_text_has_the_ids_of_tiktoken(tokens: list[bytes]) -> None:
    ours, encoding = made_of(tokens), encoding_of(tokens)
    for text in [*ENGLISH, *hard_texts(tokens)]:
        assert ids(ours, text) == encoding.encode_ordinary(text), text[:60]


def test_a_token_that_no_merges_make_is_still_that_of_a_whole_word(tokens: list[bytes]) -> None:
    odd = [*tokens, b" qzxj", b"zqzqzq"]
    parents = find_parents(odd)
    assert [rank for rank, pair in enumerate(parents) if pair is None and len(odd[rank]) > 1] == [
        len(odd) - 2,
        len(odd) - 1,
    ]
    encoding, whole = encoding_of(odd), made_of(odd, is_whole=True)
    for text in ("a qzxj b", "zqzqzq", "azqzqzq", *ENGLISH[:5]):
        assert ids(whole, text) == encoding.encode_ordinary(text)
    assert len(odd) - 1 not in ids(made_of(odd), "zqzqzq")


@pytest.mark.parametrize("seed", range(5))
def test_tokens_with_all_their_parents_are_made_by_merges(tokens: list[bytes], seed: int) -> None:
    """Whichever are left: so also where pruning leaves other tokens than training would have made."""
    parents, source = find_parents(tokens), random.Random(seed)
    kept, waiting = set(range(256)), source.sample(range(256, len(tokens)), 150)
    while waiting:
        rank = waiting.pop()
        if rank not in kept:
            kept.add(rank)
            waiting += parents[rank] or ()
    left = [tokens[rank] for rank in sorted(kept)]
    tokenizer = RustTokenizer.from_buffer(orjson.dumps(to_json(left, of_words=True)))
    again = {token: pair for token, pair in zip(left, find_parents(left), strict=True) if len(token) > 1}
    for token, pair in again.items():
        assert pair is not None and left[pair[0]] + left[pair[1]] == token
        assert pair == tuple(left.index(tokens[parent]) for parent in parents[tokens.index(token)] or ())
    readable = [(rank, token.decode()) for rank, token in enumerate(left) if is_text(token)]
    assert len(readable) > 200
    for rank, text in readable:
        assert tokenizer.encode(text, add_special_tokens=False).ids == [rank]


def is_text(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.slow
def test_every_library_that_reads_the_folder_agrees(tmp_path: Path, tokens: list[bytes]) -> None:
    write_tokenizer(tmp_path, tokens, is_whole=False)
    ours, theirs = load_tokenizer("huggingface", tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours.vocab_size == len(theirs) == len(tokens) + 1
    assert ours.eos_id == theirs.eos_token_id == len(tokens) and theirs.eos_token == END_OF_TEXT
    assert not ours.loses_text and ours.not_as_json is None
    assert ours.control_tokens() == {len(tokens): END_OF_TEXT}
    assert [token.content for token in ours.tokens()[:-1]] == tokens
    assert why_not_fast(ours, ENGLISH) is None
    encoding = encoding_of(tokens)
    every = [*ENGLISH, *hard_texts(tokens), *hostile_texts(ours)]
    fast, lengths = FastEncoder(fast_json(ours), for_newer("huggingface", ours.path)).encode(every)
    expected = [encoding.encode_ordinary(text) for text in every]
    assert fast.tolist() == [index for of_text in expected for index in of_text]
    assert lengths.tolist() == list(map(len, expected))
    for text, of_text in zip(every, expected, strict=True):
        assert ours.encode(text) == of_text
        assert theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == of_text
        assert ours.decode(of_text) == theirs.decode(of_text) == text


@pytest.mark.slow
def test_cl100k_base_as_a_whole_has_the_ids_of_tiktoken(tmp_path: Path) -> None:
    tokens = cl100k_tokens()
    assert sum(pair is None for pair in find_parents(tokens)) == 256, "merges make every token: no word is whole"
    write_tokenizer(tmp_path, tokens, is_whole=False)
    ours, encoding = load_tokenizer("huggingface", tmp_path), encoding_of(tokens)
    assert ours.vocab_size == 100_257 and ours.eos_id == 100_256
    for text in [*ENGLISH, *hard_texts(tokens), *hostile_texts(ours)]:
        assert ours.encode(text) == encoding.encode_ordinary(text), text[:60]
    assert why_not_fast(ours, ENGLISH) is None
