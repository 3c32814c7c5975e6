"""Encoding at full speed with `gigatoken`, where it is proven to give the reference's ids; else with the reference."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from custom_modules.tokenizer.base import Tokenizer
from custom_modules.tokenizer.load import load_tokenizer

RECYCLE_CHARACTERS = 256 * 2**20
"""gigatoken remembers every word it has met: after so much text it starts afresh, and memory stays flat. Sooner would
cost speed: of English prose ever fewer words are new."""


_ADDED_TRIED = 300
NEW_LETTERS = {
    "13.0": "\U00030000",
    "14.0": "\U00010570",
    "15.0": "\U00011f04",
    "15.1": "\U0002ebf0",
    "16.0": "\U000105c0",
    "17.0": "\U000323b0",
}
"""A letter of each version of Unicode that it first had."""


class Encoder(Protocol):
    """Many texts to ids at once."""

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of all texts, one behind the other ([tokens], an integer dtype), and each text's count ([texts])."""


class ReferenceEncoder:
    """An encoder that is the tokenizer's own library."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        encoded = self._tokenizer.encode_batch(texts)
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.fromiter(chain.from_iterable(encoded), np.int32, int(lengths.sum())), lengths


class FastEncoder:
    """An encoder that is gigatoken, in this thread.

    Args:
        content: what `fast_json` gives.
        load: gives the tokenizer itself, for texts with characters that this Python's Unicode does not have: whether
            these are letters the regular expressions of the two libraries may know from tables of different age. None:
            the tokenizer has no regular expression.
    """

    def __init__(self, content: str, load: Callable[[], Tokenizer] | None = None) -> None:
        self._content = content
        self._load = load
        self._reference: Tokenizer | None = None
        self._fast: Any = None
        self._characters = 0

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        if self._fast is None or self._characters > RECYCLE_CHARACTERS:
            from gigatoken import Tokenizer as GigaTokenizer

            self._fast, self._characters = GigaTokenizer.from_json(self._content), 0
        self._characters += sum(map(len, texts))
        # One by one: batches come as arrays of another library, whose import takes as long as 10 MB of text.
        encoded = [self._encode_one(text) for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return np.concatenate([np.empty(0, np.uint32), *encoded]), lengths

    def _encode_one(self, text: str) -> NDArray[np.uint32]:
        if self._load is None or not has_newer(text):
            ids: NDArray[np.uint32] = self._fast.encode(text)
            return ids
        self._reference = self._reference or self._load()
        return np.array(self._reference.encode(text), np.uint32)


def has_newer(text: str) -> bool:
    """Whether a text has a character that is not assigned in this Python's Unicode."""
    if text.isascii():
        return False
    return any(unicodedata.category(found[0]) == "Cn" for found in _maybe_newer().finditer(text))


@cache
def _maybe_newer() -> re.Pattern[str]:
    """Match what is not assigned, and all above U+FFFF, since a regular expression is slow on many ranges there."""
    unassigned = (code for code in range(0x10000) if unicodedata.category(chr(code)) == "Cn")
    return re.compile(f"[{''.join(map(chr, unassigned))}\U00010000-\U0010ffff]")


def for_newer(library: str, path: Path) -> Callable[[], Tokenizer] | None:
    """Return what a `FastEncoder` of a tokenizer takes as ``load``: SentencePiece has no regular expression."""
    return None if library == "sentencepiece" else partial(load_tokenizer, library, path)


def fast_json(tokenizer: Tokenizer) -> str:
    """The tokenizer's JSON without special tokens: gigatoken would turn their text into them."""
    content = tokenizer.to_json()
    kept = [token for token in content["added_tokens"] if not token["special"]]
    return orjson.dumps({**content, "added_tokens": kept}).decode()


def why_not_fast(tokenizer: Tokenizer, texts: Iterable[str]) -> str | None:
    """What speaks against gigatoken; None if it gives the reference's ids for these texts and for hostile ones."""
    try:
        import gigatoken  # noqa: F401
    except ImportError:
        return "gigatoken is not installed (pip install 'danube-pretrain[data]')"
    if tokenizer.not_as_json:
        return tokenizer.not_as_json
    if tokenizer.loses_text:
        return "it has no token for some characters, and gigatoken would leave them out without a word"
    every = [*texts, *hostile_texts(tokenizer)]
    try:
        encoder = FastEncoder(fast_json(tokenizer), for_newer(tokenizer.library, tokenizer.path))
        ids, lengths = encoder.encode(every)
    except Exception as error:
        return f"gigatoken cannot read it ({' '.join(str(error).split())})"
    for text, found in zip(every, np.split(ids, np.cumsum(lengths)[:-1]), strict=True):
        if not np.array_equal(found, tokenizer.encode(text)):
            return f"gigatoken encodes the text that begins with {text[:40]!r} otherwise"
    return None


def hostile_texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Where tokenizers go wrong: runs of spaces, NULs, lone marks, bytes, emoji, letters that are new in Unicode, what
    looks like a special token."""
    for character in (" ", "\t", "\n", "\u00a0", "\u2581", "-", "a", "\x00"):
        for count in (1, 2, 3, 4, 7, 8, 15, 16, 17, 33):
            yield character * count
            yield f"a{character * count}b"
    yield from (
        "",
        "\r\n\r\n",
        "\u0301",
        "e\u0301",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\U0001f9d1\u200d\U0001f680",
        "\U0010ffff",
    )
    yield from ("\u2581a \u2581", "<0x0A>", "\u4f60\u597d", "\u0c95\u0ccd\u0cb7", "x" * 5000, "\u00df\u1e9e" * 99)
    for letter in NEW_LETTERS.values():
        yield from (f"a{letter}b", f"!!{letter}!!", f" {letter}\n", letter * 3)
    for added in tokenizer.to_json()["added_tokens"][:_ADDED_TRIED]:
        yield from (f"a{added['content']}b", f"  {added['content']}  {added['content']}\n")
    for index in {tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, 0, 1, 2} - {None}:
        token = tokenizer.token(index)  # type: ignore[arg-type]
        yield from (token, f"a{token}b", f" {token} {token}")
