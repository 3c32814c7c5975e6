"""Tokens become text as they come: whole characters, and all of them."""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from custom_modules.chat.stream import TextStream
from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from tests.support.chat import contents, turns


def streamed(tokenizer: ChatTokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer.decode)
    parts = [stream.add(index) for index in ids]
    return [part for part in (*parts, stream.finish()) if part]


def test_a_text_arrives_as_it_is_decoded_at_once(chat_tokenizer: ChatTokenizer) -> None:
    begin = len(chat_tokenizer.encode_prompt(turns(["a"])))

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(text=contents.filter(lambda text: "\ufffd" not in text))
    @example(text="  indented\n\n    more é🙂👩‍👩‍👧 日本")
    @example(text="\n  a\n b")
    def holds(text: str) -> None:
        ids = chat_tokenizer.encode(turns(["a", text])).ids[begin:]
        parts = streamed(chat_tokenizer, ids)
        assert "".join(parts) == chat_tokenizer.decode(ids)
        assert "\ufffd" not in "".join(parts)

    holds()


def test_any_tokens_at_all(chat_tokenizer: ChatTokenizer) -> None:
    """What a bad model says: bytes that are no characters, control tokens. Nothing that could be decoded is lost."""

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(ids=st.lists(st.integers(0, min(400, chat_tokenizer.vocab_size - 1)), max_size=30))
    def holds(ids: list[int]) -> None:
        ids = [index for index in ids if chat_tokenizer.decode([index]) or index == chat_tokenizer.eos_id]
        found = "".join(streamed(chat_tokenizer, ids)).replace("\ufffd", "")
        assert set(found) >= set(chat_tokenizer.decode(ids).replace("\ufffd", "").strip())

    holds()


def test_a_character_that_was_cut_off_is_left_out(small: ChatTokenizer) -> None:
    begin = len(small.encode_prompt(turns(["a"])))
    ids = small.encode(turns(["a", "so é🙂"])).ids[begin:-2]
    assert "".join(streamed(small, ids)) == "so é"
