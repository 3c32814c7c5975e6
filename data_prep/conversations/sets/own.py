"""A user's own conversations and pairs."""

from __future__ import annotations

from data_prep.conversations.messages import (
    OUT_OF_ORDER,
    Conversation,
    Message,
    Pair,
    UnreadableError,
    UnusableError,
    conversation,
    messages_of,
    pair,
    text_of,
    user,
)
from data_prep.conversations.reader import Fields, RowReader


class Messages(RowReader):
    """Reads ``messages``: objects with a ``role``, of ``system``, ``user`` and ``assistant``, and a ``content``."""

    name = "messages"
    kind = "conversations"
    columns = frozenset(("messages",))
    known_by = (columns,)

    def read(self, fields: Fields) -> Conversation:
        """Return the conversation."""
        system, messages = messages_of(fields, "messages")
        return conversation(messages, system)


class Pairs(RowReader):
    """Reads ``prompt``, ``chosen`` and ``rejected``: each a text, or messages as `Messages` reads them."""

    name = "pairs"
    kind = "pairs"
    columns = frozenset(("prompt", "chosen", "rejected"))
    known_by = (columns,)

    def read(self, fields: Fields) -> Pair:
        """Return the pair. Answers may repeat the prompt's messages before their own."""
        is_text = isinstance(fields.get("prompt"), str)
        system, prompt = ("", [user(text_of(fields, "prompt"))]) if is_text else messages_of(fields, "prompt")
        return pair(prompt, _answer(fields, "chosen", prompt), _answer(fields, "rejected", prompt), system)


def _answer(fields: Fields, key: str, prompt: list[Message]) -> str:
    if isinstance(fields.get(key), str):
        return text_of(fields, key)
    _, messages = messages_of(fields, key)
    if messages[: len(prompt)] == prompt:
        messages = messages[len(prompt) :]
    return last_answer(messages, key)


def last_answer(messages: list[Message], key: str) -> str:
    """Return the only message that is left of one side, an answer.

    Raises:
        UnreadableError: there is none.
        UnusableError: there are several, or it is a question.
    """
    if not messages:
        raise UnreadableError(f"{key!r} has no message of its own")
    if len(messages) > 1 or messages[0]["role"] != "assistant":
        roles = " ".join(message["role"] for message in messages)
        raise UnusableError(OUT_OF_ORDER, f"{key} goes on with {roles[:200]} where one answer should be")
    return messages[0]["content"]
