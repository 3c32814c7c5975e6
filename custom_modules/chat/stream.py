"""Text from tokens as they come, in whole characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are no character, or not yet."""


class TextStream:
    """Turns tokens, one at a time, into the text that they are together.

    A token may be part of a character, and its text may depend on the token before it, such as a blank that begins
    only a text's first: so a few tokens are decoded again with each, and what is new is given on. What is no whole
    character at the end is left out.

    Args:
        decode: the text of some ids.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._begin = 0
        """The first token that is decoded again."""
        self._given = 0
        """Up to here the text was given on."""

    def add(self, index: int) -> str:
        """Take the next token; returns what may be written now, which may be nothing."""
        self._ids.append(index)
        before = self._decode(self._ids[self._begin : self._given])
        text = self._decode(self._ids[self._begin :])
        if text.endswith(_INCOMPLETE) or len(text) <= len(before):
            return ""
        self._begin, self._given = self._given, len(self._ids)
        return text[len(before) :]

    def finish(self) -> str:
        """Return what is left of the text: whole characters before bytes that are none."""
        before = self._decode(self._ids[self._begin : self._given])
        text = self._decode(self._ids[self._begin :]).rstrip(_INCOMPLETE)
        return text[len(before) :]
