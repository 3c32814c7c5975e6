"""A user's own items as JSON lines."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from custom_modules.errors import UserError
from custom_modules.tasks.items import Answer, Continuation, Task
from custom_modules.tasks.library import load_tasks
from custom_modules.tasks.suite import load_suite

ITEMS: list[dict[str, Any]] = [
    {"context": "The capital of France is", "choices": ["Paris", "Rome"], "answer": 0},
    {"context": "2 + 2 =\n", "choices": ["5", "four"], "answer": "four"},
    {"context": "", "choices": ["Yes", " No"], "answer": 1},
]


def load(path: Path, *items: Any, limit: int | None = None) -> Task:
    path.write_text("".join(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in items))
    (task,) = load_tasks(load_suite(path), path.parent / "no data", limit)
    return task


def test_items_are_asked_as_they_are_written(tmp_path: Path) -> None:
    """With one space before a choice, where there is no white space yet."""
    task = load(tmp_path / "mine.jsonl", *ITEMS)
    asked = [[(one.context, one.text) for one in item.requests if isinstance(one, Continuation)] for item in task.items]
    assert asked == [
        [("The capital of France is", " Paris"), ("The capital of France is", " Rome")],
        [("2 + 2 =\n", "5"), ("2 + 2 =\n", "four")],
        [("", "Yes"), ("", " No")],
    ]
    assert [item.right for item in task.items] == [0, 1, 1]
    assert (task.known_items, task.is_whole, task.num_fewshot) == (None, True, 0)
    assert len(load(tmp_path / "mine.jsonl", *ITEMS, limit=2).items) == 2


def test_items_are_graded(tmp_path: Path) -> None:
    """By all of a choice's log-likelihood, and by that of a character; the first of equal ones wins."""
    task = load(tmp_path / "mine.jsonl", *ITEMS)
    grades = [
        task.grade(item, [Answer(log_likelihood=value) for value in values])
        for item, values in zip(task.items, ([-1.0, -2.0], [-2.0, -4.0], [-3.0, -3.0]), strict=True)
    ]
    assert [grade.metrics for grade in grades] == [
        {"acc": 1.0, "acc_norm": 1.0},
        {"acc": 0.0, "acc_norm": 1.0},
        {"acc": 0.0, "acc_norm": 0.0},
    ]
    assert [grade.is_tie for grade in grades] == [False, False, True]
    assert grades[1].bits == pytest.approx(4 / math.log(2)) and grades[1].right_bytes == len("four")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], r"mine\.jsonl: has no item"),
        (["{"], r"mine\.jsonl:1: not JSON"),
        ([ITEMS[0], {"context": "a", "choices": ["b"], "answer": 0}], r"item 2: has no context and choices"),
        ([{"context": "a", "choices": ["b", ""], "answer": 0}], r"item 1: has no context and choices"),
        ([{**ITEMS[0], "answer": 2}], r"item 1: answer 2 is none of its choices"),
        ([{**ITEMS[0], "answer": -1}], r"item 1: answer -1 is none of its choices"),
        ([{**ITEMS[0], "answer": "London"}], r"item 1: answer 'London' is none of its choices"),
        ([{**ITEMS[0], "answer": True}], r"item 1: answer True is none of its choices"),
        ([{"context": "a", "choices": ["b", "c"]}], r"item 1: answer None is none of its choices"),
    ],
)
def test_what_is_no_item_is_named(items: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        assert load(tmp_path / "mine.jsonl", *items).items
