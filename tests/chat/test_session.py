"""What of a conversation fits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_modules.chat.session import Conversation, Message
from custom_modules.errors import UserError


def encode(messages: Sequence[Message]) -> list[int]:
    """A token for each character, and one for each message."""
    return [0] * sum(len(message["content"]) + 1 for message in messages)


@given(lengths=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=20), limit=st.integers(1, 20))
def test_no_turn_is_left_out_without_need(lengths: list[tuple[int, int]], limit: int) -> None:
    conversation, said = Conversation(encode, 40, limit), list[str]()
    for number, (question, answer) in enumerate(lengths):
        text = str(number % 10) * question
        if question + 1 + limit > 40:
            before = list(conversation.messages)
            with pytest.raises(UserError, match=rf"has {question + 1} tokens, .* {limit} .* context of 40"):
                conversation.ask(text)
            assert conversation.messages == before
            continue
        turns = len(conversation.messages)
        ids, left_out = conversation.ask(text)
        said.append(text)
        assert len(ids) + limit <= 40
        assert len(conversation.messages) == turns + 1 - 2 * left_out
        assert [message["content"] for message in conversation.messages] == said[-len(conversation.messages) :]
        if left_out:
            assert len(encode([{"content": text} for text in said[-len(conversation.messages) - 2 :]])) + limit > 40
        conversation.answered("x" * min(answer, limit))
        said.append("x" * min(answer, limit))


def test_without_an_end_nothing_is_left_out() -> None:
    conversation = Conversation(encode, None, 10)
    for number in range(50):
        assert conversation.ask("x" * 100)[1] == 0
        conversation.answered("y")
        assert len(conversation.messages) == 2 * number + 2
    conversation.forget()
    assert conversation.messages == []
