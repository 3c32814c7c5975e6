"""A conversation, a pair of answers, and what makes a record neither."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from data_prep.input.json_values import LONE_SURROGATE

Kind = Literal["conversations", "pairs"]
"""What a set holds, and what a run of SFT and one of DPO are prepared for."""

OUT_OF_ORDER = "roles out of order"
EMPTY = "an empty message"
NOTHING_TO_LEARN = "nothing left to learn"
EQUAL = "chosen equal to rejected"
COPY = "a copy"
NOT_DRAWN = "not drawn"
_DIGEST_BYTES = 16
_FIRST_BYTES = 8
_ROLES = {"user": "user", "prompter": "user", "human": "user", "assistant": "assistant", "system": "system"}


Message = dict[str, str]
"""One half of a turn: ``role``, ``user`` or ``assistant``, and ``content``, without white space around it."""


class UnreadableError(Exception):
    """A record without the fields that its set has, or with others in their place: the reason is its text."""


class UnusableError(Exception):
    """A record that can be read and is not to be learnt from.

    Args:
        reason: one of a few, by which records are counted.
        detail: what it was in this record.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Conversation:
    """Turns of a user and an assistant."""

    messages: tuple[Message, ...]
    """User first, in turn, an answer last."""
    system: str = ""
    is_shortened: bool = False
    """Whether a last question without an answer was left out."""

    @property
    def digest(self) -> bytes:
        """Return 16 bytes that equal conversations have in common."""
        return _hash([message["content"] for message in self.messages], _DIGEST_BYTES)

    @property
    def first(self) -> bytes:
        """Return 8 bytes that conversations with the same first question have in common."""
        return _hash(self.messages[0]["content"], _FIRST_BYTES)

    def with_system(self) -> Conversation:
        """Return it with its system prompt before the first question."""
        return replace(self, messages=_prepended(self.system, self.messages), system="")


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, of which one is better."""

    prompt: tuple[Message, ...]
    """User first, in turn, a question last."""
    chosen: str
    rejected: str
    system: str = ""

    @property
    def digest(self) -> bytes:
        """Return 16 bytes that equal pairs have in common."""
        return _hash([[message["content"] for message in self.prompt], self.chosen, self.rejected], _DIGEST_BYTES)

    @property
    def first(self) -> bytes:
        """Return 8 bytes that pairs with the same first question have in common."""
        return _hash(self.prompt[0]["content"], _FIRST_BYTES)

    def with_system(self) -> Pair:
        """Return it with its system prompt before the first question."""
        return replace(self, prompt=_prepended(self.system, self.prompt), system="")


Item = Conversation | Pair


def user(content: str) -> Message:
    """Return a question."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """Return an answer."""
    return {"role": "assistant", "content": content}


def conversation(messages: Sequence[Message], system: str = "") -> Conversation:
    """Return the conversation of some messages; a last question without an answer is left out.

    Raises:
        UnusableError: the roles are out of order, a message is empty, or there is no answer.
    """
    if not messages:
        raise UnusableError(NOTHING_TO_LEARN, "no message")
    _check_order(messages)
    is_shortened = messages[-1]["role"] == "user"
    kept = tuple(messages[:-1] if is_shortened else messages)
    if not kept:
        raise UnusableError(NOTHING_TO_LEARN, "no answer")
    _check_filled(kept)
    return Conversation(kept, system, is_shortened)


def pair(prompt: Sequence[Message], chosen: str, rejected: str, system: str = "") -> Pair:
    """Return the pair of two answers.

    Raises:
        UnusableError: the roles are out of order, something is empty, or the answers are equal.
    """
    _check_order([*prompt, assistant("")])
    _check_filled([*prompt, assistant(chosen), assistant(rejected)])
    if chosen == rejected:
        raise UnusableError(EQUAL)
    return Pair(tuple(prompt), chosen, rejected, system)


def _check_order(messages: Sequence[Message]) -> None:
    for number, message in enumerate(messages):
        if (message["role"] == "user") != (number % 2 == 0):
            raise UnusableError(OUT_OF_ORDER, " ".join(message["role"] for message in messages[: number + 1])[-200:])


def _check_filled(messages: Sequence[Message]) -> None:
    if number := next((number for number, message in enumerate(messages, 1) if not message["content"]), 0):
        raise UnusableError(EMPTY, f"message {number}, of the {messages[number - 1]['role']}")


def _prepended(system: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    first, *rest = messages
    return (user(f"{system}\n\n{first['content']}"), *rest) if system else messages


def _hash(value: object, size: int) -> bytes:
    return hashlib.blake2b(orjson.dumps(value), digest_size=size).digest()


def text_of(fields: Mapping[str, Any], key: str) -> str:
    """Return a field's text without white space around it.

    Raises:
        UnreadableError: it is not there, no string, or no Unicode.
    """
    if key not in fields:
        raise UnreadableError(f"no key {key!r}")
    return _text(fields[key], key)


def optional_text_of(fields: Mapping[str, Any], key: str) -> str:
    """Return what `text_of` does; an empty text where the field is null or not there.

    Raises:
        UnreadableError: it is no string, or no Unicode.
    """
    return "" if fields.get(key) is None else _text(fields[key], key)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UnreadableError(f"{name!r} is {'null' if value is None else type(value).__name__}, not a string")
    if not value.isascii() and (lone := LONE_SURROGATE.search(value)):
        place = f"\\u{ord(lone[0]):x}, at character {lone.start() + 1} of {name!r}"
        raise UnreadableError(f"no Unicode (a lone surrogate, {place})")
    return value.strip()


def messages_of(fields: Mapping[str, Any], key: str) -> tuple[str, list[Message]]:
    """Return the system prompt of a list of messages, an empty text where it has none, and the other messages.

    Raises:
        UnreadableError: the field is no list of objects with a ``role`` and a ``content``.
        UnusableError: a role that no conversation here has, or a system prompt that is not at the beginning.
    """
    given = fields.get(key)
    if not isinstance(given, list):
        what = "null" if given is None else type(given).__name__
        raise UnreadableError(f"{key!r} is {what}, not a list of messages" if key in fields else f"no key {key!r}")
    found = list(_messages(given, key))
    system = found[0]["content"] if found and found[0]["role"] == "system" else ""
    rest = found[1:] if found and found[0]["role"] == "system" else found
    if any(message["role"] == "system" for message in rest):
        raise UnusableError(OUT_OF_ORDER, "a system prompt after the beginning")
    return system, rest


def _messages(given: Sequence[object], key: str) -> Iterator[Message]:
    for number, message in enumerate(given, start=1):
        if not isinstance(message, Mapping):
            raise UnreadableError(f"message {number} of {key!r} is {type(message).__name__}, not an object")
        role = message.get("role")
        if not isinstance(role, str):
            raise UnreadableError(f"message {number} of {key!r} has no role")
        if role not in _ROLES:
            raise UnusableError(OUT_OF_ORDER, f"role {role[:100]!r} in message {number}")
        content = _text(message.get("content"), f"{key}[{number - 1}].content")
        yield {"role": _ROLES[role], "content": content}
