"""A model's answers in FastChat's ``model_answer/MODEL.jsonl``: each is on the disk before the next is asked for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.json_lines import JsonLines
from custom_modules.mt_bench.answerer import Answered, Answerer
from custom_modules.mt_bench.chat_model import ChatModel
from custom_modules.mt_bench.generation import Generation
from custom_modules.mt_bench.questions import QUESTIONS, Question, answered_turns
from custom_modules.settings import settle
from custom_modules.text import say

FOLDER = "model_answer"


class Answers:
    """The answers of one model, as far as they are there.

    Args:
        output: the results' folder; it has the answers of one model.
        name: the model's, FastChat's ``model_id``.
        questions: all of the benchmark's; the record of settings is about them.

    Raises:
        UserError: the folder has another model's answers, or answers of other weights, template, settings or questions.
    """

    def __init__(
        self,
        output: Path,
        name: str,
        model: ChatModel,
        generation: Generation,
        bench: Path,
        questions: Sequence[Question],
    ) -> None:
        self.name, self._model, self._generation = name, model, generation
        path = output / FOLDER / f"{name}.jsonl"
        others = sorted(file for file in path.parent.glob("*.jsonl") if file != path)
        if others:
            raise UserError(
                f"{others[0]}: the answers of another model than {name}; give --model-name {others[0].stem} if it is "
                "the same, or another --output"
            )
        self._lines = JsonLines(path)
        self.settings = {
            **model.identity,
            "eos_token_id": list(model.eos_ids),
            **generation.settings(questions),
            "questions": sha256_of(bench / QUESTIONS),
        }
        settle(path, self.settings, bool(self._lines.records), output)
        self._by_id = _by_id(path, self._lines.records)

    @property
    def path(self) -> Path:
        """The file."""
        return self._lines.path

    def of(self, question: Question) -> tuple[str, str]:
        """Return the answers to both turns of a question that was answered."""
        return self._by_id[question.id]

    def cut(self, questions: Iterable[Question]) -> int:
        """Return how many answers to some questions did not end by themselves."""
        wanted = {question.id for question in questions}
        records = (record for record in self._lines.records if record["question_id"] in wanted)
        return sum(record["choices"][0].get("finish_reasons", []).count("length") for record in records)

    def missing(self, questions: Iterable[Question]) -> list[Question]:
        """Return those of some questions that have no answer yet, in their order."""
        return [question for question in questions if question.id not in self._by_id]

    def complete(self, questions: Sequence[Question]) -> None:
        """Have the model answer those questions that it has not; its weights are loaded only for that.

        Raises:
            UserError: it cannot be loaded, a question does not fit into its context, or the disk refuses.
        """
        missing = self.missing(questions)
        if not missing:
            return
        answerer = Answerer(self._model, self._generation)
        say(f"{self.name} answers {len(missing)} of {len(questions)} questions on {answerer.device}")
        for number, question in enumerate(missing, start=1):
            begun = time.monotonic()
            answered = answerer.answer(question)
            self._append(question, answered, answerer.device.type)
            say(
                f"answered question {question.id} ({question.category}), {number} of {len(missing)}: "
                f"{answered.tokens:,} tokens in {time.monotonic() - begun:.1f} s"
            )

    def _append(self, question: Question, answered: Answered, device: str) -> None:
        name = hashlib.sha256(f"{self._model.digest} {question.id}".encode()).hexdigest()[:22]
        choice = {"index": 0, "turns": list(answered.texts), "finish_reasons": list(answered.finish_reasons)}
        self._lines.append(
            {
                "question_id": question.id,
                "answer_id": name,
                "model_id": self.name,
                "choices": [choice],
                "device": device,
                "tstamp": time.time(),
            }
        )
        self._by_id[question.id] = answered.texts

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _by_id(path: Path, records: Iterable[Mapping[str, Any]]) -> dict[int, tuple[str, str]]:
    found: dict[int, tuple[str, str]] = {}
    for record in records:
        number, turns = answered_turns(path, record)
        if number in found:
            raise UserError(f"{path}: question {number} is answered twice; remove one of its lines")
        found[number] = turns
    return found
