"""The marks that a page has handed out, added up by model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from custom_modules.comparison.answers import CRITERIA, MARKS, Answers, read_answers
from custom_modules.errors import UserError
from custom_modules.files import readable

Marks = dict[tuple[int, str], list[int]]
"""By model and criterion."""


def tally(file: Path, folder: Path) -> Iterator[str]:
    """Say what the marks in a file come to, line by line: of each model the mean of each criterion, and over all.

    Args:
        file: that a page has saved.
        folder: of that page.

    Raises:
        UserError: one of them is missing or damaged, or they are of different pages.
    """
    answers = read_answers(folder)
    marks = _read(file, folder, answers)
    width = max(map(len, answers.models))
    yield "  ".join([f"{'model':{width}}", *CRITERIA, "mean", "marks"])
    for model, name in enumerate(answers.models):
        every = [mark for criterion in CRITERIA for mark in marks.get((model, criterion), [])]
        cells = [f"{_mean(marks.get((model, criterion), [])):>{len(criterion)}}" for criterion in CRITERIA]
        yield "  ".join([f"{name:{width}}", *cells, f"{_mean(every):>4}", f"{len(every):>5}"])


def _mean(marks: list[int]) -> str:
    return f"{mean(marks):.2f}" if marks else "-"


def _read(file: Path, folder: Path, answers: Answers) -> Marks:
    with readable(file):
        content = file.read_bytes()
    wrong = UserError(f"--marks {file}: not marks that a page has saved; save them there again")
    try:
        plain = json.loads(content)
        page, every = plain["page"], plain["marks"]
        checked = [_checked(each, answers) for each in every]
    except (ValueError, TypeError, LookupError):
        raise wrong from None
    if page != answers.id:
        raise UserError(f"--marks {file}: of another page than {folder}'s; give --of the folder of that page")
    if len({each[:3] for each in checked}) < len(checked):
        raise wrong
    found: Marks = defaultdict(list)
    for prompt, place, criterion, mark in checked:
        found[answers.order[prompt][place], criterion].append(mark)
    return found


def _checked(each: dict[str, Any], answers: Answers) -> tuple[int, int, str, int]:
    prompt, place, criterion, mark = (each[name] for name in ("prompt", "place", "criterion", "mark"))
    places = range(len(answers.models))
    if (
        prompt not in range(len(answers.prompts))
        or place not in places
        or criterion not in CRITERIA
        or mark not in MARKS
    ):
        raise ValueError
    return prompt, place, criterion, mark
