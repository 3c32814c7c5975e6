"""A conversation with a model: its turns, and how many of them fit into the model's context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from custom_modules.errors import UserError

Message = dict[str, str]


class Conversation:
    """The turns so far.

    Args:
        encode: gives the tokens of a prompt: user and assistant in turn, the user's last.
        context: of the model, in tokens; None: it has no end.
        max_new_tokens: of an answer, which must fit in behind the prompt.
    """

    def __init__(
        self, encode: Callable[[Sequence[Message]], list[int]], context: int | None, max_new_tokens: int
    ) -> None:
        self._encode = encode
        self._context = context
        self._max_new_tokens = max_new_tokens
        self.messages: list[Message] = []

    def ask(self, text: str) -> tuple[list[int], int]:
        """Add a message of the user's, and leave out the oldest turns as far as there is no room for them.

        Returns:
            The tokens to answer to; and how many questions were left out, each with its answer.

        Raises:
            UserError: the message alone does not fit. The turns stay as they were.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        ids, left_out = self._encode(messages), 0
        while not self._fits(ids) and len(messages) > 1:
            messages, left_out = messages[2:], left_out + 1
            ids = self._encode(messages)
        if not self._fits(ids):
            raise UserError(
                f"the message has {len(ids):,} tokens, and with --max-new-tokens {self._max_new_tokens:,} for the "
                f"answer that is more than the model's context of {self._context:,}; shorten one of them"
            )
        self.messages = messages
        return ids, left_out

    def answered(self, text: str) -> None:
        """Add the model's answer."""
        self.messages.append({"role": "assistant", "content": text})

    def forget(self) -> None:
        """Begin anew."""
        self.messages = []

    def _fits(self, ids: Sequence[int]) -> bool:
        return self._context is None or len(ids) + self._max_new_tokens <= self._context
