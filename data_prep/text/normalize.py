"""Unicode normalization in time that doubles when the text doubles.

``unicodedata`` sorts the combining marks behind a letter by insertion: a letter with 100,000 of them takes it half a
minute. Here long runs of marks are sorted first, which changes no form that it gives.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from typing import Literal

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

_MAY_BE_MARKS = re.compile(r"[\W\uff9e\uff9f][\W\uff9e\uff9f]{32,}")
"""Shorter runs are left to `unicodedata`. No letter or digit is a mark, nor becomes one, but U+FF9E and U+FF9F."""


def normalize(form: Form, text: str) -> str:
    """Return what ``unicodedata.normalize`` returns."""
    if unicodedata.is_normalized(form, text):
        return text
    return unicodedata.normalize(form, order_marks("NFKD" if "K" in form else "NFD", text))


def nfkc_casefold(text: str) -> str:
    """Return a text in NFKC with case folded."""
    return normalize("NFKC", text).casefold()


def order_marks(form: Literal["NFD", "NFKD"], text: str) -> str:
    """Return a text that has the same normal forms (of NFKD: the same NFKC and NFKD), its long runs of marks in order.

    For a library that calls `unicodedata` itself.
    """
    return text if text.isascii() else _MAY_BE_MARKS.sub(lambda run: _in_order(form, run[0]), text)


def _in_order(form: Form, run: str) -> str:
    """Decompose characters, and put the marks that are side by side among them in the order of their classes."""
    decomposed = (unicodedata.normalize(form, character) for character in run)
    return "".join(
        "".join(sorted("".join(group), key=unicodedata.combining) if marks else group)
        for marks, group in groupby(decomposed, lambda characters: all(map(unicodedata.combining, characters)))
    )
