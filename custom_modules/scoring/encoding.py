"""Requests as token ids, by the tokenizer that the model was trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer as RustTokenizer

from custom_modules.chat_tokenizer.template import ANSWER, PROMPT
from custom_modules.errors import UserError
from custom_modules.files import readable, sha256_of
from custom_modules.tokenizer import Tokenizer

_COMPARED_AT_ONCE = 1_000
_EMPTY_LINE = "\n\n"
_SHOWN = 80
"""Characters of a text in a message."""


class Encoder(Protocol):
    """Encodes requests, and decodes what was generated."""

    eos_ids: tuple[int, ...]
    """What ends a generated text."""

    def pair(self, context: str, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of a context, never none, and those of a text behind it."""

    def examples(self, context: str) -> int:
        """Count the ids that a context begins with up to its last empty line, as its examples do by themselves."""

    def prompt(self, context: str) -> list[int]:
        """Return the ids of a context that a text is generated behind, never none."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, without control tokens."""

    def key(self) -> str:
        """Return what says which ids a text becomes, for a record."""


class TextEncoder:
    """Encodes texts with nothing added to them.

    A context and its continuation are cut apart as the library does: blanks at a context's end belong to the
    continuation, and both are encoded as one text, whose ids behind as many as the context alone has are the
    continuation's. The end of a document stands for an empty context, since a document followed one in training.

    Args:
        encode: gives the ids of a text.
        decode: gives the text of some ids, without control tokens.
        eos_ids: what ends a generated text; the first ends a document.
        key: says which ids a text becomes.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        decode: Callable[[Sequence[int]], str],
        eos_ids: Sequence[int],
        key: str,
    ) -> None:
        self.eos_ids = tuple(eos_ids)
        self._encode, self._decode, self._key = encode, decode, key
        # A context has as many continuations as its question has choices, one after the other.
        self._context = lru_cache(maxsize=8)(encode)
        self._alone = lru_cache(maxsize=8)(encode)

    def pair(self, context: str, text: str) -> tuple[list[int], list[int]]:
        stripped = context.rstrip()
        context, text = stripped, context[len(stripped) :] + text
        if not context:
            return [self.eos_ids[0]], self._encode(text)
        before = self._context(context)
        return before, self._encode(context + text)[len(before) :]

    def examples(self, context: str) -> int:
        context = context.rstrip()
        alone = self._alone(context[: context.rfind(_EMPTY_LINE) + 1])
        pairs = zip(alone, self._context(context), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def prompt(self, context: str) -> list[int]:
        return self._context(context) or [self.eos_ids[0]]

    def decode(self, ids: Sequence[int]) -> str:
        return self._decode(ids)

    def key(self) -> str:
        return self._key


class PlainEncoder(TextEncoder):
    """The project's own tokenizer: what looks like a special token in a text is text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer.encode, tokenizer.decode, (tokenizer.eos_id,), tokenizer.sha256)


def chat_encoder(tokenizer_json: Path, eos_ids: Sequence[int]) -> TextEncoder:
    """Return what encodes conversations that a chat template has written: a folder's own file, with control tokens.

    Args:
        eos_ids: what ends an answer.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    fast = _read_json(tokenizer_json)

    def encode(text: str) -> list[int]:
        ids: list[int] = fast.encode(text, add_special_tokens=False).ids
        return ids

    def decode(ids: Sequence[int]) -> str:
        return fast.decode(list(ids), skip_special_tokens=True)

    return TextEncoder(encode, decode, eos_ids, sha256_of(tokenizer_json))


def check_agreement(tokenizer: Tokenizer, tokenizer_json: Path, texts: Iterable[str]) -> None:
    """Make sure that a folder's two tokenizers give the same ids, control tokens and chat markers apart.

    Args:
        tokenizer: of its ``tokenizer.model``.
        texts: on which they are compared.

    Raises:
        UserError: they do not; the text is in the message.
    """
    fast = _read_json(tokenizer_json)
    added = [token.content for token in fast.get_added_tokens_decoder().values() if token.special]
    apart = [name for name in (*added, *tokenizer.control_tokens().values(), PROMPT, ANSWER) if name]
    compared = [text for text in dict.fromkeys(texts) if not any(name in text for name in apart)]
    for begin in range(0, len(compared), _COMPARED_AT_ONCE):
        some = compared[begin : begin + _COMPARED_AT_ONCE]
        theirs = fast.encode_batch_fast(some, add_special_tokens=False)
        for text, ours, other in zip(some, tokenizer.encode_batch(some), theirs, strict=True):
            if ours != other.ids:
                raise UserError(
                    f"{tokenizer_json}: disagrees with {tokenizer.path.name} on {text[:_SHOWN]!r}: it gives "
                    f"{_first(other.ids, ours)}; take out the one that the model was not trained with"
                )


def _first(theirs: list[int], ours: list[int]) -> str:
    """Say where two lists of ids part."""
    place = next((n for n, (one, other) in enumerate(zip(theirs, ours, strict=False)) if one != other), None)
    if place is None:
        return f"{len(theirs)} tokens, and not {len(ours)}"
    return f"token {theirs[place]} at place {place + 1}, and not {ours[place]}"


def _read_json(path: Path) -> RustTokenizer:
    with readable(path):
        content = path.read_bytes()
    try:
        fast = RustTokenizer.from_buffer(content)
    except Exception as error:
        raise UserError(f"{path}: the tokenizers library cannot read it ({' '.join(str(error).split())})") from None
    fast.no_truncation()
    fast.no_padding()
    return fast
