"""FastChat's benchmark folder: ``question.jsonl``, and the reference answers that some categories are judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.json_lines import read_json_lines

QUESTIONS = "question.jsonl"
REFERENCES = "reference_answer"
WITH_REFERENCE = ("math", "reasoning", "coding")
"""The categories whose answers FastChat has compared with a reference."""
TURNS = (1, 2)
_USUAL_REFERENCE = "gpt-4"


@dataclass(frozen=True)
class Question:
    """A conversation of two questions.

    Attributes:
        id: FastChat's ``question_id``.
        category: such as ``writing``.
        turns: the texts of the two.
    """

    id: int
    category: str
    turns: tuple[str, str]

    @property
    def needs_reference(self) -> bool:
        """Whether a judge is shown a reference answer."""
        return self.category in WITH_REFERENCE


def read_questions(bench: Path) -> list[Question]:
    """Read a benchmark's questions, in their order.

    Args:
        bench: the folder that has ``question.jsonl``.

    Raises:
        UserError: there is no such file, or a line of it is no question of two turns, or has an id for the second time.
    """
    path = bench / QUESTIONS
    if not path.is_file():
        raise UserError(
            f"--bench {bench}: no {QUESTIONS} there; give the folder of FastChat's that has it, a copy of "
            "fastchat/llm_judge/data/mt_bench, with judge_prompts.jsonl in it or beside it"
        )
    questions = [_question(path, record) for record in read_json_lines(path)]
    ids = [question.id for question in questions]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise UserError(f"{path}: question_id {twice} is there twice; remove one of them")
    if not questions:
        raise UserError(f"{path}: no question in it; take FastChat's file as it is")
    return questions


def _question(path: Path, record: Mapping[str, Any]) -> Question:
    number, category, turns = (record.get(name) for name in ("question_id", "category", "turns"))
    if (
        not isinstance(number, int)
        or not isinstance(category, str)
        or not isinstance(turns, list)
        or len(turns) != len(TURNS)
        or not all(isinstance(turn, str) for turn in turns)
    ):
        raise UserError(
            f"{path}: question_id={number!r} is not {{question_id: number, category: text, turns: [text, text]}}; take "
            "FastChat's file as it is"
        )
    return Question(number, category, (turns[0], turns[1]))


def answered_turns(path: Path, record: Mapping[str, Any]) -> tuple[int, tuple[str, str]]:
    """Return the question's id and the two texts of a record of answers, of a model's or of references.

    Raises:
        UserError: it is no such record.
    """
    try:
        number, (first, second) = record["question_id"], record["choices"][0]["turns"]
    except (LookupError, TypeError, ValueError):
        number, first, second = record.get("question_id"), None, None
    if not (isinstance(number, int) and isinstance(first, str) and isinstance(second, str)):
        raise UserError(
            f"{path}: its record of question_id={number!r} is not FastChat's {{question_id, choices: [{{turns: [text, "
            "text]}]}; remove it"
        )
    return number, (first, second)


def read_references(bench: Path, judge_model: str, questions: Iterable[Question]) -> dict[int, tuple[str, str]]:
    """Read the reference answers that some questions are judged by.

    Args:
        bench: the folder of the benchmark.
        judge_model: the file of its name is taken where there are several, else that of gpt-4.

    Returns:
        By question's id those of both turns; nothing where no question needs one.

    Raises:
        UserError: the file, or the reference of a question, is missing.
    """
    needed = [question.id for question in questions if question.needs_reference]
    if not needed:
        return {}
    path = _reference_file(bench, judge_model)
    found = dict(answered_turns(path, record) for record in read_json_lines(path))
    missing = [number for number in needed if number not in found]
    if missing:
        raise UserError(f"{path}: no reference answer to question {listed(missing)}; take FastChat's file as it is")
    return {number: found[number] for number in needed}


def _reference_file(bench: Path, judge_model: str) -> Path:
    files = sorted((bench / REFERENCES).glob("*.jsonl"))
    if len(files) == 1:
        return files[0]
    by_name = {file.stem: file for file in files}
    chosen = by_name.get(judge_model) or by_name.get(_USUAL_REFERENCE)
    if chosen is None:
        problem = f"{len(files)} files, and none is {_USUAL_REFERENCE}.jsonl" if files else "no .jsonl file there"
        raise UserError(
            f"{bench / REFERENCES}: {problem}; the answers to {', '.join(WITH_REFERENCE)} are judged by one: put "
            f"FastChat's {_USUAL_REFERENCE}.jsonl there"
        )
    return chosen


def listed(numbers: Sequence[int]) -> str:
    """Name questions in a message: at most the first five of them."""
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown} and {len(numbers) - 5} more" if len(numbers) > 5 else shown
