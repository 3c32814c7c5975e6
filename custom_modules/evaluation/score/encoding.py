"""Requests as token ids, by the tokenizer that the model was trained with."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from custom_modules.tokenizer import Tokenizer


class Encoder(Protocol):
    """Encodes requests, and decodes what was generated."""

    eos_ids: tuple[int, ...]
    """What ends a generated text."""

    def pair(self, context: str, text: str) -> tuple[list[int], list[int]]:
        """Return the ids of a context, never none, and those of a text behind it."""

    def prompt(self, context: str) -> list[int]:
        """Return the ids of a context that a text is generated behind, never none."""

    def decode(self, ids: list[int]) -> str:
        """Return the text of generated ids, without control tokens."""

    def key(self) -> str:
        """Return what says which ids a text becomes, for a record."""


class PlainEncoder:
    """The project's own tokenizer, with nothing added to a text.

    A context and its continuation are cut apart as the library does: blanks at a context's end belong to the
    continuation, and both are encoded as one text, whose ids behind as many as the context alone has are the
    continuation's. The end of a document stands for an empty context, since a document followed one in training.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.eos_ids: tuple[int, ...] = (tokenizer.eos_id,)
        # A context has as many continuations as its question has choices, one after the other.
        self._context = lru_cache(maxsize=8)(tokenizer.encode)

    def pair(self, context: str, text: str) -> tuple[list[int], list[int]]:
        stripped = context.rstrip()
        context, text = stripped, context[len(stripped) :] + text
        if not context:
            return [self.tokenizer.eos_id], self.tokenizer.encode(text)
        before = self._context(context)
        return before, self.tokenizer.encode(context + text)[len(before) :]

    def prompt(self, context: str) -> list[int]:
        return self._context(context) or [self.tokenizer.eos_id]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids)

    def key(self) -> str:
        return self.tokenizer.sha256
