"""What is known of the data sets."""

from __future__ import annotations

import re

from custom_modules.tasks.datasets import DATA_SETS, MMLU_SUBJECTS, data_sets_of, texts_of


def test_known_counts() -> None:
    """Of the evaluated documents, as the sets' papers and cards have them."""
    asked = {name: each.documents[each.evaluated] for name, each in DATA_SETS.items()}
    mmlu = {name: count for name, count in asked.items() if name.startswith("mmlu_")}
    assert len(mmlu) == len(MMLU_SUBJECTS) == 57 and sum(mmlu.values()) == 14_042
    assert {name: count for name, count in asked.items() if name not in mmlu} == {
        "arc_easy": 2_376,
        "arc_challenge": 1_172,
        "boolq": 3_270,
        "hellaswag": 10_042,
        "openbookqa": 500,
        "piqa": 1_838,
        "winogrande": 1_267,
        "triviaqa": 17_944,
        "truthfulqa": 817,
        "gsm8k": 1_319,
    }


def test_each_repository_is_of_one_commit() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{40}", each.revision) for each in DATA_SETS.values())
    assert len({(each.repository, each.revision) for each in DATA_SETS.values()}) == 10


def test_sets_of_tasks_and_groups() -> None:
    assert data_sets_of("truthfulqa_mc2") == [DATA_SETS["truthfulqa"]]
    assert data_sets_of("mmlu_virology") == [DATA_SETS["mmlu_virology"]]
    assert len(data_sets_of("mmlu")) == len(data_sets_of("mmlu_stem")) == 57
    assert data_sets_of("copa") == []


def test_texts_are_question_choices_and_answers() -> None:
    """None twice, and no label, number or empty text; a blank is there with its answer, too."""
    row = {"question": "Why?", "choices": {"text": ["So.", "Thus.", ""], "label": ["A", "B", "C"]}, "answerKey": "A"}
    assert texts_of(DATA_SETS["arc_easy"], row) == ["Why?", "So.", "Thus."]
    blank = {"sentence": "Ann thanked Bob for _ help.", "option1": "his", "option2": "her", "answer": "1"}
    assert texts_of(DATA_SETS["winogrande"], blank) == [
        "Ann thanked Bob for _ help.",
        "his",
        "her",
        "Ann thanked Bob for his help.",
    ]
    trivia = {
        "question": "Who?",
        "question_id": "x",
        "answer": {"value": "Ann", "aliases": ["Ann", "Anna"], "type": "y"},
    }
    assert texts_of(DATA_SETS["triviaqa"], trivia) == ["Who?", "Ann", "Anna"]
