"""Conversations and pairs cut to a length in tokens.

Whole turns go from the front first, then the first prompt loses its beginning. An answer is cut at its end only where
it is too long by itself, and then has no end token. Text is cut, not ids: so the ids of what is left are those that
its messages have at inference, too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, Protocol

from data_prep.conversations.messages import (
    EQUAL,
    NOTHING_TO_LEARN,
    Conversation,
    Message,
    Pair,
    UnusableError,
    assistant,
    user,
)

TURNS = "turns left out at the front"
PROMPT = "a prompt cut at its beginning"
ANSWER = "an answer cut at its end"
QUESTION = "a last question without an answer left out"


class Encoded(Protocol):
    """Ids of a conversation, and which of them are of answers."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def answers(self) -> list[bool]: ...


class Encoder(Protocol):
    """Makes ids of messages."""

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Return the ids of a conversation, the end tokens of its answers included."""

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the ids that an answer goes on from: the first ones of the conversation with it."""


class Sample(NamedTuple):
    """What SFT trains on."""

    ids: list[int]
    answers: list[bool]
    """Which ids are trained on."""
    cuts: tuple[str, ...]
    """What was cut, by kind."""


class CutPair(NamedTuple):
    """What DPO trains on."""

    pair: Pair
    tokens: tuple[int, int]
    """Of the prompt with the chosen answer, and with the rejected one, at most as many as there may be."""
    cuts: tuple[str, ...]


def cut_conversation(conversation: Conversation, encoder: Encoder, length: int) -> Sample:
    """Return the sample of a conversation, of ``length`` tokens at most.

    Raises:
        UnusableError: no token of an answer is left.
    """
    cuts: tuple[str, ...] = (QUESTION,) if conversation.is_shortened else ()
    messages = list(conversation.messages)
    encoded = encoder.encode(messages)
    if len(encoded.ids) > length:
        kept = _last_turns(encoded, length) + 1
        while len(messages) > 2 and len(encoded.ids) > length:
            messages = messages[-2 * kept :] if 2 * kept < len(messages) else messages[2:]
            encoded = encoder.encode(messages)
        if len(messages) < len(conversation.messages):
            cuts += (TURNS,)
        if len(encoded.ids) > length:
            messages = [user(_shorter_prompt(messages, encoder, len(encoded.ids) - length)), messages[1]]
            encoded = encoder.encode(messages)
            cuts += (PROMPT,)
        if len(encoded.ids) > length:
            cuts += (ANSWER,)
    answers = encoded.answers[:length]
    if not any(answers):
        raise UnusableError(NOTHING_TO_LEARN, f"of {len(encoded.ids):,} tokens the first {length:,} have no answer's")
    return Sample(encoded.ids[:length], answers, cuts)


def cut_pair(pair: Pair, encoder: Encoder, length: int) -> CutPair:
    """Return a pair whose sides have the same prompt and ``length`` tokens at most.

    An answer that is cut at its end has so much text that its ids up to ``length`` have no end token.

    Raises:
        UnusableError: no token of an answer is left, or the answers are equal where they are cut.
    """
    cuts: tuple[str, ...] = ()
    prompt = list(pair.prompt)
    sizes = _sizes(prompt, pair, encoder)
    if max(sizes) <= length:
        return CutPair(pair, sizes, cuts)
    longest = max(sizes)
    while longest > length and len(prompt) > 2:
        prompt = prompt[2:]
        longest = max(_sizes(prompt, pair, encoder))
    if len(prompt) < len(pair.prompt):
        cuts += (TURNS,)
    if longest > length:
        prompt = [user(_shorter_prompt(prompt, encoder, longest - length))]
        cuts += (PROMPT,)
    if len(encoder.encode_prompt(prompt)) >= length:
        raise UnusableError(NOTHING_TO_LEARN, f"the prompt's marks alone take {length:,} tokens")
    sides, tokens = [], []
    for answer in (pair.chosen, pair.rejected):
        size = len(encoder.encode([*prompt, assistant(answer)]).ids)
        if size > length:
            answer = _shorter_answer(prompt, answer, encoder, length)
            size = length
            cuts += (ANSWER,)
        sides.append(answer)
        tokens.append(size)
    if sides[0] == sides[1]:
        raise UnusableError(EQUAL, "where they are cut")
    cut = replace(pair, prompt=tuple(prompt), chosen=sides[0], rejected=sides[1])
    return CutPair(cut, (tokens[0], tokens[1]), tuple(dict.fromkeys(cuts)))


def _sizes(prompt: Sequence[Message], pair: Pair, encoder: Encoder) -> tuple[int, int]:
    chosen, rejected = ([*prompt, assistant(answer)] for answer in (pair.chosen, pair.rejected))
    return len(encoder.encode(chosen).ids), len(encoder.encode(rejected).ids)


def _last_turns(encoded: Encoded, length: int) -> int:
    """How many turns from the last one on have ``length`` tokens at most, as they stand; 0 where the last has more.

    A turn by itself may have a token more or less than behind another.
    """
    answers = [*encoded.answers, False]
    ends = [index + 1 for index, (one, other) in enumerate(pairwise(answers)) if one and not other]
    return sum(len(encoded.ids) - end <= length for end in ends[:-1])


def _shorter_prompt(messages: Sequence[Message], encoder: Encoder, excess: int) -> str:
    """Return the end of the only question that has ``excess`` tokens less than all of it, or what comes nearest."""
    text = messages[0]["content"]

    def size(start: int) -> int:
        return len(encoder.encode_prompt([user(text[start:].strip())]))

    allowed = size(0) - excess
    return text[_first_where(len(text), lambda start: size(start) <= allowed) :].strip()


def _shorter_answer(prompt: Sequence[Message], answer: str, encoder: Encoder, length: int) -> str:
    """Return the beginning of an answer that has more than ``length`` tokens with its prompt and end token."""

    def size(end: int) -> int:
        return len(encoder.encode([*prompt, assistant(answer[:end].strip())]).ids)

    end = _first_where(len(answer), lambda end: size(end) > length)
    return answer[:end].strip()


def _first_where(count: int, holds: Callable[[int], bool]) -> int:
    """Return the first of 0 to ``count`` where something holds that holds from there on; ``count`` if it nowhere does.

    Merges make it hold here and there before: then one of those places may be returned.
    """
    return bisect_left(range(count), True, key=holds)
