"""Texts that begin alike, in one sequence: each is there to the token, and what they share is there once."""

from __future__ import annotations

import random
from pathlib import Path

from custom_modules.scoring.encoding import PlainEncoder
from custom_modules.scoring.rows import Rows
from custom_modules.scoring.shapes import CPU, CPU_SHARED
from custom_modules.tasks.items import Continuation, Item
from custom_modules.tokenizer import load_tokenizer
from tests.support.evaluated import make_tokenizer
from tests.support.evaluation import sentences

MAX_LENGTH = 900


def make_items() -> list[Item]:
    """Questions behind their subject's examples, answered by a letter or by one of four sentences; some too long."""
    source = random.Random(5)

    def said(count: int) -> str:
        return " ".join(source.choice(sentences()) for _ in range(count))

    examples = ["\n\n".join(said(6) for _ in range(5)) + "\n\n" for _ in range(3)]
    found = []
    for number in range(60):
        context = examples[number % 3] * (number % 5 < 4) + said(40 if number % 20 == 7 else 2) + "\nAnswer:"
        answers = [" A", " B", " C", " D"] if number % 2 else [" " + said(1) for _ in range(4)]
        requests = tuple(Continuation(context, answer) for answer in answers)
        found.append(Item("made", number, requests, 0, str(number)))
    return found


def test_a_sequence_has_each_text_once_and_what_they_share_once(tmp_path: Path) -> None:
    encoder = PlainEncoder(load_tokenizer("sentencepiece", make_tokenizer(tmp_path)))
    items = make_items()
    rows, plain = (Rows(items, encoder, MAX_LENGTH, shapes) for shapes in (CPU_SHARED, CPU))
    assert {(row.tokens.tobytes(), row.lasts) for row in rows.rows} == {
        (row.tokens.tobytes(), row.lasts) for row in plain.rows
    }
    seen = []
    for number, one_pass in enumerate(rows.passes):
        batch = rows.batch(number)
        assert batch.shape == (1, 2048) and batch.places is not None
        tokens, places = batch.tokens[0], batch.places
        assert [segment.begin for segment in batch.segments] == [0, *(segment.end for segment in batch.segments[:-1])]
        begun = {(segment.shared_begin, segment.shared_end) for segment in batch.segments} - {(0, 0)}
        beginnings = [tokens[begin:end].tobytes() for begin, end in begun]
        assert len(set(beginnings)) == len(beginnings), "one is there twice"
        own = [each for each in batch.segments if (each.begin, each.end) not in begun]
        begin = 0
        for member, segment in zip(one_pass.members, own, strict=True):
            row = rows.rows[member]
            shared = slice(segment.shared_begin, segment.shared_end)
            text = [*tokens[shared], *tokens[segment.begin : segment.end]]
            assert text == [*row.tokens]
            assert [*places[shared], *places[segment.begin : segment.end]] == [*range(len(text))]
            end = begin + row.scored
            assert [*batch.positions[begin:end]] == [*range(segment.end - row.scored, segment.end)]
            assert [*batch.asked[begin : end - 1, 0]] == text[len(text) - row.scored + 1 :]
            begin = end
            seen.append(member)
    assert sorted(seen) == [*range(len(rows.rows))]
    computed = sum(one.count * one.length for one in rows.passes)
    assert computed < 0.5 * sum(one.count * one.length for one in plain.passes)


def test_what_a_question_shares_are_the_examples_before_it(tmp_path: Path) -> None:
    encoder = PlainEncoder(load_tokenizer("sentencepiece", make_tokenizer(tmp_path)))
    for item in make_items():
        request = item.requests[0]
        assert isinstance(request, Continuation)
        examples, _, question = request.context.rpartition("\n\n")
        count = encoder.examples(request.context)
        assert encoder.prompt(request.context)[:count] == encoder.prompt(examples + "\n")[:count]
        if examples:
            assert count >= len(encoder.prompt(examples)) - 1
            assert encoder.examples(f"{examples}\n\nAnother question") == count
        else:
            assert count == 0
        assert question
