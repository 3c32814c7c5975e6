"""Unicode normalization is the standard library's, and takes time that grows with the text alone."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest

from data_prep.text.normalize import Form, nfkc_casefold, normalize

FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC", "NFKD")
DECOMPOSABLE = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.decomposition(c)]
MARKS = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.combining(c)]


def odd_text(draw: random.Random) -> str:
    """Short and long runs of marks behind letters, Hangul, and characters that decompose into marks."""
    pieces = []
    for _ in range(draw.randint(1, 12)):
        marks = draw.sample(MARKS, draw.choice((2, 5, 900)))
        pieces += draw.choices(("a", "Ø", "ß", "中", "한", "ᄒ", "ᅡ", "ﾞ", "\u0f73", "\u0344", " "), k=draw.randint(0, 3))
        pieces += draw.choices(DECOMPOSABLE, k=draw.randint(0, 3))
        pieces += draw.choices(marks, k=draw.choice((0, 1, 30, 31, 32, 33, 34, 35, 200)))
    return "".join(pieces)


@pytest.mark.parametrize("form", FORMS)
def test_as_the_standard_library(form: Form) -> None:
    draw = random.Random(form)
    for _ in range(300):
        text = odd_text(draw)
        assert normalize(form, text) == unicodedata.normalize(form, text)


def test_case_is_folded_behind_it() -> None:
    draw = random.Random(0)
    for _ in range(100):
        text = odd_text(draw)
        assert nfkc_casefold(text) == unicodedata.normalize("NFKC", text).casefold()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "marks", ["\u0300\u0316", "\u0344\u0316", "\u0f73\u0f71", "\u0316\uff9e", "\u0316\U0001e8d0", "".join(MARKS)]
)
def test_a_megabyte_of_marks_ends(form: Form, marks: str) -> None:
    text = "a" + marks[::-1] * (500_000 // len(marks))
    result = normalize(form, text)
    assert len(result) >= len(text) - 1
    assert unicodedata.is_normalized(form, result)
