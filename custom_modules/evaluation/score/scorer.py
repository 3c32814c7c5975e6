"""Tasks' items answered by a model, whichever it is, as far as they are not answered yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from custom_modules.evaluation.score.encoding import Encoder
from custom_modules.evaluation.score.log import AnswerLog
from custom_modules.evaluation.score.passes import Ranks, deal_out
from custom_modules.evaluation.score.prompts import PromptBatch, Prompts, Text
from custom_modules.evaluation.score.rows import Batch, Rows, Sums
from custom_modules.evaluation.score.shapes import Shapes
from custom_modules.evaluation.tasks.items import Answer, Generation, Item

BATCH_SIZE = 8
"""Passes that are prepared at a time."""
ALONE = Ranks()


class Scorer(Protocol):
    """Answers tasks' items."""

    def score(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        """Return the answers to each item's requests, in the items' order. Collective."""


class Model(Protocol):
    """Computes passes; with several processes, this rank's part of them."""

    max_length: int
    """Tokens that it reads at most."""
    shapes: Shapes

    def log_probabilities(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """Return what each of some batches of one shape asks, ``[n, k]``; nothing where another rank has it."""


class GeneratingModel(Model, Protocol):
    """A model that continues texts, too."""

    def generate(self, batch: PromptBatch) -> list[list[int]]:
        """Return the new tokens of each prompt, up to the one with which it ended."""


class ModelScorer:
    """Answers items with a model; an item's answers do not depend on what else is asked.

    Args:
        log: of the first process alone; what is in it is not computed again.
        batch_size: passes that are prepared at a time.
        progress: is told how many tokens more were computed, or found in the log.
    """

    def __init__(
        self,
        model: Model,
        encoder: Encoder,
        ranks: Ranks = ALONE,
        log: AnswerLog | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._model, self._encoder, self._ranks = model, encoder, ranks
        self._log, self._batch_size, self._progress = log, batch_size, progress

    def score(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        """Return the answers to each item's requests, in the items' order. Collective.

        Raises:
            UserError: a text is to be generated, and this model does not; a log-likelihood is not finite; or the disk
                refuses.
        """
        generating = [number for number, item in enumerate(items) if isinstance(item.requests[0], Generation)]
        scoring = sorted({*range(len(items))} - {*generating})
        answers: list[tuple[Answer, ...]] = [()] * len(items)
        for numbers, answer in ((scoring, self._score), (generating, self._generate)):
            if numbers:
                found = answer([items[number] for number in numbers])
                for number, of_item in zip(numbers, found, strict=True):
                    answers[number] = of_item
        return answers

    def _score(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        rows = Rows(items, self._encoder, self._model.max_length, self._model.shapes)
        keys, lengths = [row.key for row in rows.rows], [len(row.lasts) for row in rows.rows]
        sizes = [len(row.tokens) for row in rows.rows]
        hooks = self._hooks(rows.passes, keys, lengths, sizes)
        answers = rows.answers(score_rows(rows, self._model, self._ranks, self._batch_size, *hooks))
        for item, of_item in zip(items, answers, strict=True):
            for answer in of_item:
                if not math.isfinite(answer.log_likelihood or 0.0):
                    raise UserError(
                        f"{item.task}: document {item.number}: a log-likelihood of {answer.log_likelihood}; the "
                        "weights are damaged, or their dtype is too narrow: look at the model"
                    )
        return answers

    def _generate(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        model: Any = self._model
        if not hasattr(model, "generate"):
            raise UserError(
                f"{items[0].task}: its answers are generated, which takes an export; give --export, and one is made"
            )
        prompts = Prompts(items, self._encoder, model.max_length, model.shapes)
        keys = [prompt.key for prompt in prompts.prompts]
        sizes = [len(prompt.tokens) + prompt.max_new_tokens for prompt in prompts.prompts]

        def compute(numbers: Sequence[int]) -> dict[int, list[Text]]:
            return {number: prompts.texts(number, model.generate(prompts.batch(number))) for number in numbers}

        known, done = self._hooks(prompts.passes, keys, [2] * len(keys), sizes)
        found = deal_out(len(prompts.passes), compute, self._ranks, 1, known, done)
        texts: list[Text] = [("", 0)] * len(prompts.prompts)
        for number, one_pass in enumerate(prompts.passes):
            for member, (text, tokens) in zip(one_pass.members, found[number], strict=True):
                texts[member] = (text, tokens)
        return prompts.answers(texts)

    def _hooks(
        self, passes: Sequence[Any], keys: Sequence[str], lengths: Sequence[int], sizes: Sequence[int]
    ) -> tuple[dict[int, Any], Callable[[Mapping[int, Any]], None]]:
        """Return what the log has, and what is told of the rest."""

        def tell(numbers: Iterable[int]) -> None:
            if self._progress is not None:
                self._progress(sum(sizes[member] for number in numbers for member in passes[number].members))

        def done(computed: Mapping[int, Any]) -> None:
            def append() -> None:
                if self._log is not None:
                    self._log.add(passes, keys, computed)

            self._ranks.on_first(append)
            tell(computed)

        known = self._ranks.on_first(lambda: self._log.known(passes, keys, lengths) if self._log else {})
        tell(known)
        return known, done


def score_rows(
    rows: Rows,
    model: Model,
    ranks: Ranks = ALONE,
    batch_size: int = BATCH_SIZE,
    known: Mapping[int, Sums] | None = None,
    done: Callable[[Mapping[int, Sums]], None] | None = None,
) -> list[Sequence[float]]:
    """Compute the log-likelihoods of all rows. Collective.

    Args:
        batch_size: passes of each model that are prepared at a time; no score depends on it.
        known: passes that were computed before, by their number; the same on every process.
        done: is told on every process what was computed, by the pass's number, as soon as all have their share.

    Returns:
        For each row the log-likelihoods of its continuations, on every process.
    """
    found = deal_out(len(rows.passes), partial(_compute, rows, model), ranks, batch_size, known, done)
    by_row: list[Sequence[float]] = [()] * len(rows.rows)
    for number, one_pass in enumerate(rows.passes):
        for index, sums in zip(one_pass.members, found[number], strict=True):
            by_row[index] = sums
    return by_row


def _compute(rows: Rows, model: Model, numbers: Sequence[int]) -> dict[int, Sums]:
    found: dict[int, Sums] = {}
    for _, group in groupby(numbers, key=lambda number: rows.passes[number].shape):
        same = list(group)
        outputs = model.log_probabilities([rows.batch(number) for number in same])
        # A pipeline stage before the last has no outputs.
        found.update((number, rows.sums(number, output)) for number, output in zip(same, outputs, strict=False))
    return found
