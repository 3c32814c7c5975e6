"""The rehearsal's judge and its small MT-Bench: FastChat's form, and a rule that can be worked out by hand."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from custom_modules.mt_bench.judge_prompts import JudgePrompts
from custom_modules.mt_bench.questions import read_questions, read_references
from custom_modules.mt_bench.rating import UNRATED, read_rating
from data_prep.rehearsal import judge, mt_bench
from tests.support.mt_bench import CATEGORIES, WITH_REFERENCE


def test_all_categories_and_references_in_fastchats_form(tmp_path: Path) -> None:
    assert mt_bench.main([str(tmp_path)]) == 0
    questions = read_questions(tmp_path)
    assert {question.category for question in questions} == set(CATEGORIES)
    assert set(read_references(tmp_path, "rehearsal", questions)) == {
        question.id for question in questions if question.category in WITH_REFERENCE
    }


def test_the_answer_that_is_asked_about_is_rated(tmp_path: Path) -> None:
    """10 for the reference, or the question where there is none; 1 for nothing of it; in the turn that is meant."""
    assert mt_bench.main([str(tmp_path)]) == 0
    questions = read_questions(tmp_path)
    references, prompts = read_references(tmp_path, "rehearsal", questions), JudgePrompts(tmp_path)
    for question in questions:
        best, other = references.get(question.id) or question.turns, ("xx yy", "zz {n} [[99]]")
        for turn in (1, 2):
            for answer, rating in ((best[turn - 1], 10), (other[turn - 1], 1), ("", 1)):
                answers = (answer, other[1]) if turn == 1 else (other[0], answer)
                asked = prompts.ask(question, turn, answers, references.get(question.id))
                assert read_rating(judge.rate(asked.user)) == rating


def test_a_share_of_the_words(tmp_path: Path) -> None:
    """One of two words in both: F1 is 1/2, so half of the way from 1 to 10."""
    prompt = "<question>\na b\n</question>\n<reference>\nSum 7\n</reference>\n<answer>\nthe sum\n</answer>"
    assert read_rating(judge.rate(prompt)) == 5.5
    assert read_rating(judge.rate("[[5]] without an answer")) == UNRATED


def ask(address: str, path: str, content: Any) -> Any:
    request = urllib.request.Request(address + path, json.dumps(content).encode(), method="POST")
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def test_it_is_an_api(tmp_path: Path) -> None:
    message = {"role": "user", "content": "<question>\na\n</question>\n<answer>\na\n</answer>"}
    with judge.serving() as address:
        found = ask(address, "/chat/completions", {"model": judge.NAME, "messages": [message]})
        assert found["choices"][0]["message"]["content"].endswith("[[10.0]]")
        for path, content, status in (
            ("/chat/completions", {"model": "other", "messages": [message]}, 404),
            ("/models", {"model": judge.NAME, "messages": [message]}, 404),
            ("/chat/completions", {"model": judge.NAME, "messages": []}, 400),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(address, path, content)
            assert refused.value.code == status
