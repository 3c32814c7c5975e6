"""`danube mt-bench`: answers, judgments and the table, each as far as it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.folder_lock import folder_lock
from custom_modules.mt_bench.answers import Answers
from custom_modules.mt_bench.chat_model import open_chat_model
from custom_modules.mt_bench.generation import Generation
from custom_modules.mt_bench.judge_client import JudgeClient
from custom_modules.mt_bench.judge_prompts import JudgePrompts
from custom_modules.mt_bench.judgments import Judgments
from custom_modules.mt_bench.questions import Question, listed, read_questions, read_references
from custom_modules.mt_bench.results import write_results
from custom_modules.mt_bench.scores import Scores, chosen, score
from custom_modules.mt_bench.table import render
from custom_modules.text import say


@dataclass(frozen=True)
class Request:
    """What is to be done.

    Attributes:
        model: the chat model's folder.
        name: what its answers are called.
        bench: FastChat's folder of questions.
        output: the results' folder.
        all_categories: with coding.
        has_model_answer: whether the model is asked for answers that are missing.
        client: the judge; None for answers alone.
        threads: in which it is asked.
    """

    model: Path
    name: str
    bench: Path
    output: Path
    generation: Generation
    all_categories: bool
    has_model_answer: bool
    client: JudgeClient | None
    threads: int


def run(request: Request) -> Iterator[str]:
    """Do what is missing, and give the lines of the table.

    Raises:
        UserError: something of the user's is not as it has to be, or the judge stays away.
    """
    every = read_questions(request.bench)
    questions = chosen(every, request.all_categories)
    if not questions:
        raise UserError(f"--bench {request.bench}: no question without coding in it; give --categories all")
    # Before the model answers, which takes long.
    judging = _Judging(request, request.client, questions) if request.client else None
    model = open_chat_model(request.model)
    with folder_lock(request.output, "--output"):
        answers = Answers(request.output, request.name, model, request.generation, request.bench, every)
        with closing(answers):
            _answer(request, answers, questions)
            if judging:
                yield from judging.judge(answers)


def _answer(request: Request, answers: Answers, questions: list[Question]) -> None:
    missing = answers.missing(questions)
    if missing and not request.has_model_answer:
        numbers = listed([question.id for question in missing])
        raise UserError(
            f"{answers.path}: no answer to question {numbers}; leave --judge-only out, and they are answered first"
        )
    answers.complete(questions)
    cut = answers.cut(questions)
    say(
        f"{answers.path}: {len(questions)} questions are answered; {cut} of {2 * len(questions)} answers did not end "
        f"by themselves within {request.generation.max_new_tokens:,} tokens"
    )


class _Judging:
    """All that judging needs beside the answers.

    Raises:
        UserError: prompts or references are missing.
    """

    def __init__(self, request: Request, client: JudgeClient, questions: list[Question]) -> None:
        self._request, self._client, self._questions = request, client, questions
        self._prompts = JudgePrompts(request.bench)
        self._references = read_references(request.bench, client.model, questions)

    def judge(self, answers: Answers) -> Iterator[str]:
        """Have the answers judged, write the results down, and give the lines of the table."""
        with closing(Judgments(self._request.output, self._client.model, self._prompts, answers)) as judgments:
            tasks = judgments.tasks(self._questions, self._references)
            judgments.complete(tasks, self._client, self._request.threads)
            scores = score(self._questions, judgments.ratings(tasks))
            yield from self._publish(answers, judgments, scores)

    def _publish(self, answers: Answers, judgments: Judgments, scores: Scores) -> Iterator[str]:
        is_all = self._request.all_categories
        lines = list(render(answers.name, self._client.model, scores, is_all))
        said = {
            "model": answers.name,
            "judge": {**judgments.settings, "address": self._client.address},
            "answers": answers.settings,
            "answers_cut": answers.cut(self._questions),
            "all_categories": is_all,
        }
        write_results(self._request.output, lines, scores, said)
        yield from lines
