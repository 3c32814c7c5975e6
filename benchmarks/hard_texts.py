"""Texts that stall what looks at a character more than once: runs, marks, words without end, addresses."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

_REPEATED = {
    # runs of one character
    "letters": "a",
    "digits": "1",
    "spaces": " ",
    "newlines": "\n",
    "Chinese character": "中",
    "underscores": "_",
    "brackets": "(",
    "apostrophes": "'",
    "colons": ":",
    "full stops": ".",
    # words without end
    "a-a-a-": "a-",
    "a.a.a.": "a.",
    "a:a:a:": "a:",
    "a@a@a@": "a@",
    "tags": "<b>",
    "entities": "&amp;",
    "smileys": ":)",
    "addresses": "http://a.b/",
    "Chinese": "多瑙河是欧洲第二长河它流经十个国家",
    "letters with marks": "e\u0301",
    # words and symbols
    "one word": "word ",
    "one letter": "a ",
    "spaced stops": ". ",
    "half smileys": ": (",
    "facts": "It was built in 1912. ",
    "sentences": "The river is long. ",
    # lines
    "lines": "a\n",
    "blank lines": " \n",
    "list": "- a\n",
    "table": "|a|b|\n",
}
_WORDS = ("river", "stone", "window", "garden", "letter", "market", "winter", "bridge", "the", "of", "and", "to")
_YEAR = "In 1912 the river was long. "


def hard_texts(size: int) -> dict[str, str]:
    """Texts of ``size`` characters, or a few more, by what is in them: the same ones each time."""
    texts = {name: (piece * (size // len(piece) + 1))[:size] for name, piece in _REPEATED.items()}
    return {**texts, **dict(_uneven(size)), **dict(_random(size))}


def _uneven(size: int) -> Iterator[tuple[str, str]]:
    half = size // 2
    yield "marks out of order", "a" + "\u0300\u0316" * half
    yield "stops around a letter", "." * half + "a" + "." * half
    yield "runs of stops", ("." * 1000 + "a") * (size // 1001)
    yield "stops behind a year", _YEAR + "!" * size + "a"
    yield "spaces before a word", " " * size + "a"
    yield "a long word", _YEAR * 20 + "x" * size + " and so is the stone."
    yield "a number's entity", "&#" + "1" * size + ";"


def _random(size: int) -> Iterator[tuple[str, str]]:
    draw = random.Random(0)
    yield "no full stop", " ".join(draw.choices(_WORDS, k=size // 4))[:size]
    yield "random letters", "".join(draw.choices(string.ascii_letters, k=size))
    yield "random punctuation", "".join(draw.choices(string.punctuation, k=size))
    path = "/".join(f"{draw.getrandbits(32):x}" for _ in range(size // 8))
    yield "an address's path", f"https://example.com/{path}"[:size]
    host = ".".join(f"{draw.getrandbits(32):x}" for _ in range(size // 8))
    yield "an address's host", f"https://{host[:size]}.com/"
    yield "an address's user", f"https://{''.join(draw.choices('ab:', k=size))}@example.com"
