"""A text's words, cut as `custom_modules.tokenizer.byte_bpe.CL100K_SPLIT` cuts them, by the standard library's `re`.

What is a letter is what this Python's Unicode says: a letter that is newer counts as a sign. That changes what is
counted of such a text, and never how the tokenizer encodes it.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby

STRETCH = 4_096
"""About as many characters are cut at a time."""
LONGEST = 4_096
"""Characters; a longer word is counted in pieces of so many."""
_SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CUT = re.compile(r"(?<=\S)(?= )|(?<=\n)(?=\S)")
"""Where two words meet, whatever is around: before a space, and behind a line's end."""
_ASCII = re.compile(
    r"'(?:[sdmtSDMT]|[lL][lL]|[vV][eE]|[rR][eE])"
    r"|[^\r\nA-Za-z0-9]?+[A-Za-z]++|[0-9]{1,3}+| ?[^\t-\r A-Za-z0-9]++[\r\n]*+"
    r"|[\t-\r ]*[\r\n]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"
)


def stretches(text: str) -> Iterator[str]:
    """Cut a text between words, so that each stretch has the words that it has in the text.

    A text without a space and without a line's end is one stretch.
    """
    begin = 0
    while len(text) - begin > STRETCH:
        cut = _CUT.search(text, begin + STRETCH)
        if cut is None:
            break
        yield text[begin : cut.start()]
        begin = cut.start()
    yield text[begin:]


def words(text: str) -> list[str]:
    """Return the words of a text in their order, of which it is made without rest."""
    found = (_ASCII if text.isascii() else _of_all_letters()).findall(text)
    if len(text) <= LONGEST or max(map(len, found)) <= LONGEST:
        return found
    return [word[at : at + LONGEST] for word in found for at in range(0, len(word), LONGEST)]


@cache
def _of_all_letters() -> re.Pattern[str]:
    """The same as `_ASCII` for all of Unicode: Python's word characters are letters, numbers and the low line."""
    categories = map(unicodedata.category, map(chr, range(sys.maxunicode + 1)))
    other_numbers = _ranges(code for code, kind in enumerate(categories) if kind in ("Nl", "No"))
    letter, number = rf"[^\W\d_{other_numbers}]", rf"[\d{other_numbers}]"
    sign, not_in_line = rf"(?:[^\w{_SPACES}]|_)", r"(?:[^\w\r\n]|_)"
    return re.compile(
        "'(?:[sdmtSDMT\u017f]|[lL][lL]|[vV][eE]|[rR][eE])"
        rf"|{not_in_line}?+{letter}++|{number}{{1,3}}+| ?{sign}++[\r\n]*+"
        rf"|[{_SPACES}]*[\r\n]+|[{_SPACES}]+(?![^{_SPACES}])|[{_SPACES}]+"
    )


def _ranges(codes: Iterable[int]) -> str:
    """Write code points, ascending, as the inside of a character class."""
    groups = (list(group) for _, group in groupby(enumerate(codes), lambda pair: pair[1] - pair[0]))
    return "".join(f"{chr(group[0][1])}-{chr(group[-1][1])}" for group in groups)
