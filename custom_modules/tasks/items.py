"""What a task asks of a model, and what came of it. Needs neither torch nor lm-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Continuation:
    """The log-likelihood of a text behind a context is asked for."""

    context: str
    text: str


@dataclass(frozen=True)
class Generation:
    """A greedy continuation of a context is asked for, up to the first of ``until``."""

    context: str
    until: tuple[str, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Item:
    """One document of a task with its requests, which are all of one kind."""

    task: str
    """The leaf: ``mmlu_anatomy``, not ``mmlu``."""
    number: int
    """Its place in the evaluated split."""
    requests: tuple[Continuation | Generation, ...]
    right: int | None
    """Which request has the right answer; None where several do, or a text is generated."""
    prompt_hash: str
    """SHA-256 of its requests in hexadecimal, the same for every model."""


@dataclass(frozen=True)
class Answer:
    """What the model gave for one request."""

    log_likelihood: float | None = None
    """In nats, summed over the continuation's tokens; None where a text was generated."""
    text: str | None = None
    tokens: int = 0
    """Of the continuation, or generated."""
    cut: int = 0
    """Tokens of the context that did not fit and were left out, from the left."""
    nothing_left: bool = False
    """Whether the continuation alone did not fit, so that not all of it was scored."""


@dataclass(frozen=True)
class Grade:
    """An item's figures."""

    metrics: Mapping[str, float]
    """By the library's names: acc, acc_norm, mc2, exact_match."""
    is_tie: bool
    """Whether two answers were exactly equally good for the entry's metric; the first has won."""
    bits: float | None
    """Of the right answer; None where there is not one, or a text was generated."""
    right_bytes: int | None
    """UTF-8 bytes of the right continuation."""


class Task(Protocol):
    """One entry of a suite, or one of its leaves, with its items."""

    name: str
    group: str
    """The entry's task that it belongs to: ``mmlu`` for ``mmlu_anatomy``, else its own name."""
    num_fewshot: int
    metric: str
    revision: str
    """Of its data set."""
    dataset: str
    """Its folder under the data folder: ``allenai/ai2_arc``."""
    known_items: int | None
    """Of the whole split; None for a user's own."""

    @property
    def is_whole(self) -> bool:
        """Whether all known documents of the split are there, and asked."""

    @property
    def items(self) -> Sequence[Item]:
        """All documents, in the split's order."""

    def grade(self, item: Item, answers: Sequence[Answer]) -> Grade:
        """Return the item's figures; answers stand in its requests' order."""
