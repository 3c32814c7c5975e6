"""Words as the tokenizer itself cuts them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from custom_modules.tokenizer.byte_bpe import CL100K_SPLIT
from data_prep.vocabulary.words import LONGEST, STRETCH, stretches, words
from tests.support.tiktoken_files import ASSIGNED, odd_texts
from tests.support.tokenizers import ENGLISH

SPLIT = pre_tokenizers.Split(Regex(CL100K_SPLIT), "isolated")


def reference(text: str) -> list[str]:
    return [word for word, _ in SPLIT.pre_tokenize_str(text)]


def is_known(text: str) -> bool:
    """Whether this Python's Unicode has all of it: another library's may be newer."""
    return all(unicodedata.category(character) != "Cn" for character in text)


@settings(max_examples=200, deadline=None)
@given(text=odd_texts.filter(is_known))
@example(text="")
@example(text="a\n  ")
@example(text=" \n \n x")
def test_they_are_those_of_the_tokenizer(text: str) -> None:
    assert words(text) == reference(text)


@pytest.mark.slow
def test_every_character_is_the_letter_number_or_sign_that_it_is_to_the_tokenizer() -> None:
    for begin in range(0, len(ASSIGNED), 5_000):
        codes = ASSIGNED[begin : begin + 5_000]
        text = "".join(
            f"a{chr(code)}b !{chr(code)}? 1{chr(code)}2 {chr(code)} {chr(code)}{chr(code)}\n" for code in codes
        )
        assert words(text) == reference(text)


def test_ascii_is_cut_as_all_of_unicode_is() -> None:
    for text in ENGLISH:
        ascii_only = text.encode("ascii", "ignore").decode().rstrip()
        assert words(ascii_only) == words(f"{ascii_only} é")[:-1] == reference(ascii_only)


@pytest.mark.parametrize("text", ["\n".join(ENGLISH), "".join(ENGLISH).replace(" ", ""), "x" * 20_000, " \n" * 9_999])
def test_stretches_have_the_words_of_the_text(text: str) -> None:
    cut = list(stretches(text))
    assert "".join(cut) == text
    assert [word for stretch in cut for word in reference(stretch)] == reference(text)
    if " the " in text:
        assert max(map(len, cut)) < 2 * STRETCH


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(odd_texts.filter(is_known), min_size=1, max_size=4), repeat=st.integers(50, 400))
def test_no_stretch_begins_inside_a_word(pieces: list[str], repeat: int) -> None:
    text = "".join(pieces) * repeat
    assert [word for stretch in stretches(text) for word in reference(stretch)] == reference(text)


def test_a_word_without_end_comes_in_pieces() -> None:
    found = words("a " + "x" * (3 * LONGEST + 1) + " b")
    assert "".join(found) == "a " + "x" * (3 * LONGEST + 1) + " b"
    assert max(map(len, found)) == LONGEST and len(found) == 6
