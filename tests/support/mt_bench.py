"""A small MT-Bench in FastChat's files, and what a start of `danube mt-bench` leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
WITH_REFERENCE = ("math", "reasoning", "coding")
PROMPTS = {
    "single-v1": "Q {question} A {answer}",
    "single-math-v1": "Q {question} R {ref_answer_1} A {answer}",
    "single-v1-multi-turn": "Q1 {question_1} A1 {answer_1} Q2 {question_2} A2 {answer_2}",
    "single-math-v1-multi-turn": (
        "Q1 {question_1} R1 {ref_answer_1} Q2 {question_2} R2 {ref_answer_2} A1 {answer_1} A2 {answer_2}"
    ),
}


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def make_bench(folder: Path, per_category: int = 1, categories: Sequence[str] = CATEGORIES) -> Path:
    """Write questions 81, 82, ... with prompts beside the folder, as FastChat has them, and a reference where one is
    needed."""
    questions = [
        {
            "question_id": 81 + number,
            "category": category,
            "turns": [f"{category} {number} first {{braces}}", f"{category} {number} second é🙂"],
        }
        for number, category in enumerate(category for category in categories for _ in range(per_category))
    ]
    write_lines(folder / "question.jsonl", questions)
    write_lines(
        folder.parent / "judge_prompts.jsonl",
        [
            {
                "name": name,
                "type": "single",
                "system_prompt": f"You judge by {name}.",
                "prompt_template": template,
                "output_format": "[[rating]]",
            }
            for name, template in PROMPTS.items()
        ],
    )
    write_lines(
        folder / "reference_answer" / "gpt-4.jsonl",
        [
            {
                "question_id": question["question_id"],
                "choices": [{"index": 0, "turns": [f"reference {question['question_id']}.{turn}" for turn in (1, 2)]}],
            }
            for question in questions
            if question["category"] in WITH_REFERENCE
        ],
    )
    return folder


def answers(output: Path) -> list[dict[str, Any]]:
    """The model's answers, without what tells the time."""
    [path] = (output / "model_answer").glob("*.jsonl")
    return [{key: value for key, value in record.items() if key != "tstamp"} for record in read_lines(path)]


def judgments(output: Path, judge: str = "judge") -> list[dict[str, Any]]:
    return read_lines(output / "model_judgment" / f"{judge}_single.jsonl")


def result(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "result.json").read_text()))
