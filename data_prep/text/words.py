"""A text's words and sentences; by a regular expression, where spaCy's rules need not be kept to the letter.

With the regular expression's words, datatrove's filters decide as with spaCy's for 99 documents in a hundred.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Set

RULES = 1
"""Raised whenever a text would give other words or sentences by the regular expression."""

TERMINAL, PUNCTUATION, OTHER = ".,w"
"""What a token is to a sentence."""
Token = tuple[int, int, str]
"""Begin and end, in characters, and which of the three it is."""

_CONTRACTION = r"n['\u2019]t\b | ['\u2019](?:[sdmSDM]|re|ve|ll)\b"
"""What is left of isn't, it's and we've."""
_LETTERS = r"(?:(?!n['\u2019]t\b)\w)+"
_INSIDE = r"""(?: [@&#%$+*~|{}()\[\]`"!?;\\]
    | \.(?!(?<=[a-z]\.)[A-Z])
    | [:/=<>](?=\d) | (?<=[^\W\d])-(?=\d) | (?<=\d),(?=\d)
    | ['\u2019](?!(?:[sdmSDM]|re|ve|ll|t)\b) )"""
"""What does not part letters that it stands between: numpy.array, foo(bar, 12:30, GPL-3, 1,000, O'Brien."""
_WORDS = re.compile(
    rf"""
      https?://\S*[\w/]
    | (?:[A-Za-z]\.){{2,}}                        # e.g., U.S.
    | {_CONTRACTION}
    | {_LETTERS} (?: {_INSIDE}+ {_LETTERS} )*
    | \):(?!\S) | \.{{2,}} | -{{2,}}
    | [^\w\s]
    """,
    re.VERBOSE,
)


def regex_words(text: str) -> list[str]:
    """Words, numbers and single symbols, in order; none has white space."""
    return _WORDS.findall(text)


def regex_tokens(text: str, terminals: Set[str]) -> Iterator[Token]:
    """
    Args:
        terminals: the words that end a sentence.
    """
    for match in _WORDS.finditer(text):
        word = match[0]
        kind = PUNCTUATION if unicodedata.category(word[0]).startswith("P") else OTHER
        yield match.start(), match.end(), TERMINAL if word in terminals else kind


def sentences(tokens: Iterable[Token]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each sentence: it ends behind a terminal and the punctuation that follows.

    The rule is that of spaCy's ``sentencizer``.
    """
    begin = end = -1
    ended = False
    for token_begin, token_end, kind in tokens:
        if begin < 0:
            begin = token_begin
        if kind == TERMINAL:
            ended = True
        elif ended and kind == OTHER:
            yield begin, end
            begin, ended = token_begin, False
        end = token_end
    if end >= 0:
        yield begin, end
