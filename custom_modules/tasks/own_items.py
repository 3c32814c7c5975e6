"""A user's own items: a file of JSON lines, each ``{"context": ..., "choices": [...], "answer": ...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import readable, sha256_of
from custom_modules.json_lines import read_json_lines
from custom_modules.tasks.items import Answer, Continuation, Grade, Item
from custom_modules.tasks.requests import is_tie, log_likelihoods, prompt_hash, right_answer
from custom_modules.tasks.suite import Entry

_FORM = '{"context": "...", "choices": ["...", "..."], "answer": 0}'


class OwnItems:
    """The items of a file, which are scored as a task of the library is.

    A choice follows its context with one space between them, unless either has white space there. The answer is a
    choice's place from 0, or the choice itself.

    Args:
        entry: one with a file.
        limit: how many items, from the first on; None for all.

    Raises:
        UserError: the file cannot be read, or a line is no such item.
    """

    num_fewshot = 0
    known_items: int | None = None
    is_whole = True

    def __init__(self, entry: Entry, limit: int | None) -> None:
        assert entry.file is not None
        self._path = entry.file
        self._limit = limit
        self.name = self.group = entry.task
        self.metric: str = entry.metric
        self.dataset = str(entry.file)
        with readable(entry.file):
            self.revision = sha256_of(entry.file)

    @cached_property
    def items(self) -> Sequence[Item]:
        """All items, in the file's order."""
        records = read_json_lines(self._path)[: self._limit]
        if not records:
            raise UserError(f"{self._path}: has no item; write one a line: {_FORM}")
        return [self._item(number, record) for number, record in enumerate(records)]

    def _item(self, number: int, record: Mapping[str, Any]) -> Item:
        where = f"{self._path}: item {number + 1}"
        context, choices = record.get("context"), _texts(record.get("choices"))
        if not isinstance(context, str) or choices is None:
            raise UserError(f"{where}: has no context and choices; write it as {_FORM}")
        requests = tuple(Continuation(context, _continuation(context, choice)) for choice in choices)
        right = _place(record.get("answer"), choices)
        if right is None:
            raise UserError(f"{where}: answer {record.get('answer')!r} is none of its choices; write it as {_FORM}")
        return Item(self.name, number, requests, right, prompt_hash(requests))

    def grade(self, item: Item, answers: Sequence[Answer]) -> Grade:
        """Return the item's figures; answers stand in its requests' order."""
        values = log_likelihoods(answers)
        lengths = [len(request.text.lstrip()) for request in item.requests if isinstance(request, Continuation)]
        by_metric = {
            "acc": values,
            "acc_norm": [value / max(1, length) for value, length in zip(values, lengths, strict=True)],
        }
        metrics = {name: float(each.index(max(each)) == item.right) for name, each in by_metric.items()}
        bits, right_bytes = right_answer(item, answers)
        return Grade(metrics, is_tie(by_metric[self.metric]), bits, right_bytes)


def _texts(value: Any) -> list[str] | None:
    """Return two texts or more, none of them empty; None for anything else."""
    is_so = isinstance(value, list) and len(value) > 1 and all(isinstance(each, str) and each for each in value)
    return value if is_so else None


def _continuation(context: str, choice: str) -> str:
    return choice if context[-1:].isspace() or choice[0].isspace() or not context else f" {choice}"


def _place(answer: Any, choices: Sequence[str]) -> int | None:
    if isinstance(answer, str):
        return choices.index(answer) if answer in choices else None
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(choices) else None
    return None
