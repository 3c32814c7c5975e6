"""A text's words as texts are compared by them: whatever their case, punctuation, Unicode form and HTML entities."""

from __future__ import annotations

import html
import re

from data_prep.text.normalize import nfkc_casefold

WORD = 4
"""What a word counts, in quarters of a word."""

_HALF_WORDS = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003fffd"
)
"""Chinese characters, kana and bopomofo."""
_QUARTER_WORDS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa00-\uaadf"
    "\U00011700-\U0001174f"
)
"""Thai, Lao, Burmese, Khmer, Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, Cham, Tai Viet and Ahom."""

_ASCII = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
_WORD = re.compile(r"[^\W_]+")
_ALONE = re.compile(f"[{_HALF_WORDS}{_QUARTER_WORDS}]")
_IS_HALF, _IS_QUARTER = re.compile(f"[{_HALF_WORDS}]"), re.compile(f"[{_QUARTER_WORDS}]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
    "\U000e0100-\U000e01ef]"
)
_ESCAPED_TIMES = 3
_NO_CHARACTER = re.compile(r"&#[0-9]{4301,};?")
"""Python makes no number of so many digits."""


def split_words(text: str) -> list[str]:
    """Return a text's runs of letters and digits, in NFKC, with case folded.

    HTML entities stand for their characters; soft hyphens, joiners and their like are not there. A letter or digit of a
    script that puts no spaces between words is a word of its own, without the marks on it.
    """
    text = _unescaped(text)
    if text.isascii():
        return text.translate(_ASCII).split()
    return _WORD.findall(_ALONE.sub(r" \g<0> ", nfkc_casefold(_INVISIBLE.sub("", text))))


def quarters(word: str) -> int:
    """Return what a word of `split_words` counts: `WORD`, less if it is a character of a script without spaces.

    Two characters are taken for a word of Chinese or Japanese, four letters for one of Thai, Khmer and their like: more
    than there are (1.7 a word in the People's Daily of January 1998, 3.2 in the Thai National Corpus), so that no
    shorter phrase counts than in other languages.
    """
    if len(word) > 1:
        return WORD
    return WORD // 2 if _IS_HALF.match(word) else WORD // 4 if _IS_QUARTER.match(word) else WORD


def _unescaped(text: str) -> str:
    """Some pages are escaped more than once."""
    if "&#" in text:
        text = _NO_CHARACTER.sub("\ufffd", text)
    for _ in range(_ESCAPED_TIMES):
        if "&" not in text or (plain := html.unescape(text)) == text:
            break
        text = plain
    return text
