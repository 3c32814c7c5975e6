"""An encoder of a token a character, to see what is done with ids."""

from __future__ import annotations

from collections.abc import Sequence


class LetterEncoder:
    """``a`` is token 1, and an empty context is token 0."""

    eos_ids: tuple[int, ...] = (0,)

    def ids(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") + 1 for letter in text]

    def pair(self, context: str, text: str) -> tuple[list[int], list[int]]:
        return self.prompt(context), self.ids(text)

    def examples(self, context: str) -> int:
        """An example ends with a ``z``."""
        return context.rfind("z") + 1

    def prompt(self, context: str) -> list[int]:
        return self.ids(context) or [0]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + index - 1) for index in ids if index)

    def key(self) -> str:
        return "letters"
