"""A finished evaluation on disk: ``results.json`` and ``samples.jsonl``. Needs neither torch nor lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from custom_modules.errors import UserError
from custom_modules.files import readable

EVALUATION = "evaluation"
"""The folder of evaluations in an export's, by suite, and in a run's, by checkpoint and suite."""
PAPER = "paper"
"""The protocol under which the leaves of a group count alike."""
RESULTS = "results.json"
SAMPLES = "samples.jsonl"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Kind = TypeVar("_Kind", bound=_Record)


class Sample(_Record):
    """A line of ``samples.jsonl``: an item and what came of it."""

    task: str
    group: str
    number: int
    prompt_hash: str
    answers: list[float] | list[str]
    """Log-likelihoods in nats, or generated texts, by request."""
    metrics: dict[str, float]
    is_tie: bool
    bits: float | None
    right_bytes: int | None
    cut_tokens: int
    nothing_left: bool


class TaskResult(_Record):
    """An entry of the suite; a group's leaves are summed up by its protocol."""

    task: str
    num_fewshot: int
    metric: str
    items: int
    known_items: int | None
    """Of the whole split; None for a user's own."""
    value: float
    """Of ``metric``, as a fraction."""
    standard_error: float | None
    """Of the value; None of a single item."""
    metrics: dict[str, float]
    """All that the items have, averaged likewise."""
    bits_per_byte: float | None
    """Of the right answers: their bits over their bytes."""
    ties: int
    cut: int
    """Items with a context that was cut."""
    nothing_left: int
    """Items whose continuation alone did not fit."""
    revision: str
    prompt_hash: str
    """Over all its items' hashes, in order."""
    leaves: dict[str, float] = {}
    """Of a group: each leaf's value."""


class Results(_Record):
    """``results.json``."""

    suite: str
    protocol: str
    """paper or current."""
    model: str
    """What was evaluated, as it was named."""
    kind: str
    """run or export."""
    consumed_tokens: int | None
    """Of a run's checkpoint."""
    weights: str
    """Digest of the weights."""
    tokenizer: str
    """Digest of the tokenizer."""
    chat_template: bool
    is_chat: bool = False
    """Whether it was trained on conversations: the reports have tables of their own for chat models."""
    dtype: str
    device: str
    limit: int | None
    seconds: float
    tokens_scored: int
    tokens_generated: int
    versions: dict[str, str]
    tasks: list[TaskResult]
    averages: dict[str, list[str]] = {}
    """The suite's means by name: the tasks that are in them."""


def read_results(folder: Path) -> Results:
    """Read a finished evaluation's figures.

    Raises:
        UserError: there are none, or they are of another form.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise UserError(f"{path}: no finished evaluation; run `danube evaluate` first, or give the folder of one")
    with readable(path):
        content = path.read_bytes()
    return _record(Results, content, str(path))


def read_samples(folder: Path) -> list[Sample]:
    """Read a finished evaluation's items.

    Raises:
        UserError: there are none, or a line is damaged; the message names it.
    """
    path = folder / SAMPLES
    if not path.is_file():
        raise UserError(f"{path}: missing beside {RESULTS}; evaluate again")
    with readable(path):
        lines = path.read_bytes().splitlines()
    return [_record(Sample, line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _record(kind: type[_Kind], content: bytes, where: str) -> _Kind:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {place or 'all of it'}: {first['msg']}; evaluate again") from None


def as_plain(results: Results) -> dict[str, Any]:
    """Return what ``results.json`` has."""
    return results.model_dump(mode="json")
