"""What is too long is cut as the report's format asks for: turns, then the prompt's beginning, then an answer's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from data_prep.conversations.lengths import ANSWER, PROMPT, TURNS, CutPair, Sample, cut_conversation, cut_pair
from data_prep.conversations.messages import Message, UnusableError, assistant, conversation, pair
from tests.support.conversation_sets import turns

END, QUESTION, REPLY = 1, 2, 3


class Ids(NamedTuple):
    ids: list[int]
    answers: list[bool]


class Letters:
    """A prompt format over letters: a mark, the letters, and an end; two equal letters together are one token."""

    def encode(self, messages: Sequence[Message]) -> Ids:
        ids: list[int] = []
        answers: list[bool] = []
        for message in messages:
            is_answer = message["role"] == "assistant"
            letters = _merged(message["content"])
            ids += [REPLY if is_answer else QUESTION, *letters, END]
            answers += [False, *[is_answer] * (len(letters) + 1)]
        return Ids(ids, answers)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        return [*self.encode(messages).ids, REPLY]


def _merged(text: str) -> list[int]:
    found: list[int] = []
    while text:
        size = 2 if text[:1] == text[1:2] else 1
        found.append(10 * ord(text[0]) + size)
        text = text[size:]
    return found


TEXTS = st.text("ab c", min_size=1, max_size=12).map(str.strip).filter(bool)
TALKS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4).map(
    lambda pairs: [text for one in pairs for text in one]
)


def sample_of(contents: Sequence[str], length: int) -> Sample:
    return cut_conversation(conversation(turns(*contents)), Letters(), length)


@given(TALKS, st.integers(4, 60))
def test_a_sample_is_the_longest_end_of_whole_turns_that_fits(contents: list[str], length: int) -> None:
    encoder, messages = Letters(), turns(*contents)
    ends = [encoder.encode(messages[first:]) for first in range(0, len(messages), 2)]
    fitting = next((end for end in ends if len(end.ids) <= length), None)
    sample = sample_of(contents, length)
    assert len(sample.ids) <= length and any(sample.answers)
    if fitting is not None:
        assert (sample.ids, sample.answers) == fitting
        assert sample.cuts == (() if fitting == ends[0] else (TURNS,))
        return
    answer = [REPLY, *_merged(contents[-1]), END]
    assert PROMPT in sample.cuts
    if len(answer) + 2 <= length:
        text = contents[-2]
        shorter = (encoder.encode(turns(text[first:].strip(), contents[-1])) for first in range(len(text) + 1))
        assert sample.ids == next(end.ids for end in shorter if len(end.ids) <= length), "the longest end that fits"
    else:
        assert sample.ids == [QUESTION, END, *answer][:length], "the prompt is gone, and the answer lost its end"
        assert ANSWER in sample.cuts and sample.ids[-1] != END


@given(TALKS, TEXTS, st.integers(4, 60))
def test_both_sides_keep_the_same_prompt(contents: list[str], other: str, length: int) -> None:
    *prompt, chosen = contents
    if chosen == other:
        return
    encoder = Letters()
    whole = pair(turns(*prompt), chosen, other)
    try:
        cut = cut_pair(whole, encoder, length)
    except UnusableError as fault:
        assert fault.reason in ("chosen equal to rejected", "nothing left to learn")
        return
    _check_pair(cut, chosen, other, length)
    longest = max((chosen, other), key=lambda text: len(_merged(text)))
    if ANSWER not in cut.cuts and TURNS not in cut.cuts:
        alone = sample_of([*prompt[-1:], longest], length)
        assert len(prompt) > 1 or PROMPT in alone.cuts or cut.pair == whole


def _check_pair(cut: CutPair, chosen: str, rejected: str, length: int) -> None:
    encoder = Letters()
    begin = encoder.encode_prompt(cut.pair.prompt)
    sides = zip((cut.pair.chosen, cut.pair.rejected), (chosen, rejected), cut.tokens, strict=True)
    for answer, given_, tokens in sides:
        ids = encoder.encode([*cut.pair.prompt, assistant(answer)]).ids
        assert ids[: len(begin)] == begin
        assert given_.startswith(answer)
        assert tokens == min(len(ids), length)
        if answer != given_:
            assert [message["content"] for message in cut.pair.prompt] == [""]
            assert END not in ids[len(begin) : length], "cut to the length it has no end token"


def test_a_length_below_the_marks_leaves_nothing_to_learn() -> None:
    with pytest.raises(UnusableError, match="nothing left to learn"):
        sample_of(["a", "b"], 3)
    with pytest.raises(UnusableError, match="nothing left to learn"):
        cut_pair(pair(turns("a"), "b", "c"), Letters(), 3)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file: Path) -> ChatTokenizer:
    return ChatTokenizer.from_file("sentencepiece", tokenizer_file)


ODD = st.text(st.sampled_from("the of >|<é漢😀 \n▁/s"), max_size=30)


@given(st.data(), st.integers(12, 90))
@settings(max_examples=150, deadline=None)
def test_with_a_real_vocabulary_what_is_cut_begins_as_at_inference(
    tokenizer: ChatTokenizer, data: st.DataObject, length: int
) -> None:
    contents = [f"x{data.draw(ODD)}".strip() for _ in range(2 * data.draw(st.integers(1, 3)))]
    try:
        sample = cut_conversation(conversation(turns(*contents)), tokenizer, length)
    except UnusableError:
        return
    assert len(sample.ids) <= length
    if ANSWER in sample.cuts:
        assert tokenizer.eos_id not in sample.ids[sample.ids.index(tokenizer.eos_id) + 1 :]
        begin = tokenizer.encode_prompt(turns(""))
    elif PROMPT in sample.cuts:
        kept = [size for size in range(len(contents[-2]) + 1) if _ids(tokenizer, contents, size) == sample.ids]
        assert kept, "it is the format of an end of the prompt, with the answer"
        begin = tokenizer.encode_prompt(turns(contents[-2][len(contents[-2]) - kept[0] :].strip()))
    else:
        first = next(n for n in range(0, len(contents), 2) if tokenizer.encode(turns(*contents[n:])).ids == sample.ids)
        begin = tokenizer.encode_prompt(turns(contents[first]))
    assert sample.ids[: len(begin)] == begin


def _ids(tokenizer: ChatTokenizer, contents: Sequence[str], size: int) -> list[int]:
    end = contents[-2][len(contents[-2]) - size :].strip()
    return tokenizer.encode(turns(end, contents[-1])).ids
