"""Judgments in FastChat's ``model_judgment/JUDGE_single.jsonl``: each is on the disk before the next is asked for."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.json_lines import JsonLines
from custom_modules.mt_bench.answers import Answers
from custom_modules.mt_bench.in_threads import in_threads
from custom_modules.mt_bench.judge_client import MAX_TOKENS, TEMPERATURE, JudgeClient, StoppedAsking
from custom_modules.mt_bench.judge_prompts import Asked, JudgePrompts
from custom_modules.mt_bench.questions import TURNS, Question
from custom_modules.mt_bench.rating import UNRATED, read_rating
from custom_modules.settings import settle
from custom_modules.text import say

FOLDER = "model_judgment"
TRIES = 2
"""A judgment without a rating is asked for once more, and then left as it is."""
_NO_FILE_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Task:
    """The answer to one turn of a question, to be judged."""

    question: Question
    turn: int
    asked: Asked

    @property
    def key(self) -> tuple[int, int]:
        """The question's id and the turn, which tell it from all others."""
        return self.question.id, self.turn

    def __str__(self) -> str:
        return f"question {self.question.id}, turn {self.turn}"


class Judgments:
    """What one judge says of one model's answers, as far as it is there.

    Args:
        output: the results' folder.
        judge_model: what the API calls the judge.

    Raises:
        UserError: there are judgments of other prompts or settings.
    """

    def __init__(self, output: Path, judge_model: str, prompts: JudgePrompts, answers: Answers) -> None:
        self._judge_model, self._prompts, self._answers, self._output = judge_model, prompts, answers, output
        name = _NO_FILE_NAME.sub("_", judge_model)
        self._lines = JsonLines(output / FOLDER / f"{name}_single.jsonl")
        self.settings = {
            "judge": judge_model,
            "judge_prompts": prompts.sha256,
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS,
        }
        settle(self.path, self.settings, bool(self._lines.records), output)

    @property
    def path(self) -> Path:
        """The file."""
        return self._lines.path

    def tasks(self, questions: Iterable[Question], references: Mapping[int, tuple[str, str]]) -> list[Task]:
        """Return what there is to judge: FastChat's order, first all first turns.

        Raises:
            UserError: a prompt cannot be filled in.
        """
        listed = list(questions)
        return [
            Task(
                question,
                turn,
                self._prompts.ask(question, turn, self._answers.of(question), references.get(question.id)),
            )
            for turn in TURNS
            for question in listed
        ]

    def complete(self, tasks: Sequence[Task], client: JudgeClient, threads: int) -> None:
        """Have the judge asked about what it has not rated, each without a rating `TRIES` times at most.

        Raises:
            UserError: it refuses, or stays away, or the disk refuses; what it has said is kept.
        """
        tried = self._scores(tasks)
        missing = [task for task in tasks if _is_open(tried[task.key])]
        if not missing:
            return
        say(f"{self._judge_model} judges {len(missing)} of {len(tasks)} answers, {threads} at a time")

        def judge(task: Task) -> None:
            scores = tried[task.key]
            while _is_open(scores):
                scores.append(self._judge(task, client))
            done = sum(not _is_open(tried[other.key]) for other in tasks)
            rated = "no rating" if scores[-1] == UNRATED else f"{scores[-1]:g}"
            say(f"judged {task} ({task.question.category}): {rated}; {done} of {len(tasks)}")

        try:
            in_threads(missing, judge, min(threads, len(missing)), client.stop)
        except StoppedAsking:
            raise AssertionError("only a failure of another thread stops one, and that is raised first") from None

    def _judge(self, task: Task, client: JudgeClient) -> float:
        messages = [{"role": "system", "content": task.asked.system}, {"role": "user", "content": task.asked.user}]
        judgment = client.ask(messages, str(task))
        score = read_rating(judgment)
        self._lines.append(
            {
                "question_id": task.question.id,
                "model": self._answers.name,
                "judge": [self._judge_model, task.asked.prompt_name],
                "user_prompt": task.asked.user,
                "judgment": judgment,
                "score": score,
                "turn": task.turn,
                "tstamp": time.time(),
            }
        )
        return score

    def ratings(self, tasks: Sequence[Task]) -> dict[tuple[int, int], float | None]:
        """Return the rating of each task, None where it is unrated, by question's id and turn.

        Raises:
            UserError: not all of them have been judged.
        """
        scores = self._scores(tasks)
        missing = [task for task in tasks if _is_open(scores[task.key])]
        if missing:
            raise UserError(f"{self.path}: {len(missing)} of {len(tasks)} answers are not judged; run it again")
        return {key: None if found[-1] == UNRATED else found[-1] for key, found in scores.items()}

    def _scores(self, tasks: Sequence[Task]) -> dict[tuple[int, int], list[float]]:
        """Return the scores that each task has got, in their order; what was said of other answers is refused."""
        by_key = {task.key: task for task in tasks}
        found: dict[tuple[int, int], list[float]] = defaultdict(list, {key: [] for key in by_key})
        for record in self._lines.records:
            task = by_key.get(_key(self.path, record))
            if task is None:
                continue
            if record["user_prompt"] != task.asked.user:
                raise UserError(
                    f"{self.path}: {task} was judged with another answer, question or reference than it has now; give "
                    f"another --output, or remove {self._output}"
                )
            found[task.key].append(record["score"])
        return found

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _is_open(scores: Sequence[float]) -> bool:
    """Tell whether a judge is still to be asked."""
    return len(scores) < TRIES and (not scores or scores[-1] == UNRATED)


def _key(path: Path, record: Mapping[str, Any]) -> tuple[int, int]:
    number, turn, score = (record.get(name) for name in ("question_id", "turn", "score"))
    is_ours = isinstance(number, int) and turn in TURNS and isinstance(score, int | float)
    if not is_ours or not isinstance(record.get("user_prompt"), str):
        raise UserError(f"{path}: its record of question_id={number!r} is no judgment of FastChat's form; remove it")
    return number, turn  # type: ignore[return-value]
