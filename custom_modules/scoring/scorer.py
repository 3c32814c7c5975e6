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
from custom_modules.scoring.batch import Batch
from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.log import AnswerLog
from custom_modules.scoring.passes import Ranks, deal_out
from custom_modules.scoring.prompts import PromptBatch, Prompts, Text
from custom_modules.scoring.rows import Rows, Sums
from custom_modules.scoring.shapes import Shapes
from custom_modules.tasks.items import Answer, Generation, Item

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


class Prepared:
    """Items as rows and prompts, encoded, and what of them is answered already.

    Args:
        items: answered in this order.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder, max_length: int, shapes: Shapes) -> None:
        self.items = list(items)
        generating = [isinstance(item.requests[0], Generation) for item in items]
        self._scored = [number for number, is_text in enumerate(generating) if not is_text]
        self._generated = [number for number, is_text in enumerate(generating) if is_text]
        self.rows = Rows([items[number] for number in self._scored], encoder, max_length, shapes)
        self.prompts = Prompts([items[number] for number in self._generated], encoder, max_length, shapes)
        self._row_keys = [row.key for row in self.rows.rows]
        self._prompt_keys = [prompt.key for prompt in self.prompts.prompts]
        self.known_rows: dict[int, Sums] = {}
        self.known_texts: dict[int, list[Text]] = {}

    @property
    def generated_task(self) -> str | None:
        """A task whose answers are generated; None if there is none."""
        return self.items[self._generated[0]].task if self._generated else None

    @property
    def is_answered(self) -> bool:
        """Whether nothing is left to compute."""
        return len(self.known_rows) == len(self.rows.passes) and len(self.known_texts) == len(self.prompts.passes)

    @property
    def known_tokens(self) -> int:
        """Tokens of what is answered already, as ``rows.tokens`` and ``prompts.tokens`` count them."""
        return self.tokens_of_rows(self.known_rows) + self.tokens_of_texts(self.known_texts)

    def tokens_of_rows(self, passes: Iterable[int]) -> int:
        """Count the tokens of some passes of the rows."""
        return sum(len(self.rows.rows[member].tokens) for n in passes for member in self.rows.passes[n].members)

    def tokens_of_texts(self, passes: Iterable[int]) -> int:
        """Count the tokens of some passes of the prompts, the most that are generated among them."""
        wanted = (self.prompts.prompts[member] for n in passes for member in self.prompts.passes[n].members)
        return sum(len(prompt.tokens) + prompt.max_new_tokens for prompt in wanted)

    def look_up(self, log: AnswerLog) -> None:
        """Take what a log has.

        Raises:
            UserError: it is damaged.
        """
        lengths = [len(row.lasts) for row in self.rows.rows]
        self.known_rows = log.known(self.rows.passes, self._row_keys, lengths)
        self.known_texts = log.known(self.prompts.passes, self._prompt_keys, [2] * len(self._prompt_keys))

    def note_rows(self, log: AnswerLog, computed: Mapping[int, Sums]) -> None:
        """Put passes of the rows into a log."""
        log.add(self.rows.passes, self._row_keys, computed)

    def note_texts(self, log: AnswerLog, computed: Mapping[int, Sequence[Text]]) -> None:
        """Put passes of the prompts into a log."""
        log.add(self.prompts.passes, self._prompt_keys, computed)

    def known_answers(self) -> list[tuple[Answer, ...]]:
        """Return each item's answers where nothing is left to compute; raises what `answers` does."""
        assert self.is_answered
        return self.answers(_by_row(self.rows, self.known_rows), self.known_texts)

    def answers(self, sums: Sequence[Sequence[float]], texts: Mapping[int, Sequence[Text]]) -> list[tuple[Answer, ...]]:
        """Return each item's answers.

        Args:
            sums: by row.
            texts: by pass of the prompts.

        Raises:
            UserError: a log-likelihood is not finite.
        """
        by_prompt: list[Text] = [("", 0)] * len(self.prompts.prompts)
        for number, found in texts.items():
            for member, (text, tokens) in zip(self.prompts.passes[number].members, found, strict=True):
                by_prompt[member] = (text, tokens)
        answers: list[tuple[Answer, ...]] = [()] * len(self.items)
        for numbers, of_items in (
            (self._scored, self.rows.answers(sums)),
            (self._generated, self.prompts.answers(by_prompt)),
        ):
            for number, of_item in zip(numbers, of_items, strict=True):
                answers[number] = of_item
        for item, of_item in zip(self.items, answers, strict=True):
            _check_finite(item, of_item)
        return answers


class ModelScorer:
    """Answers items with a model; an item's answers do not depend on what else is asked.

    Args:
        log: of the first process alone; what is in it is not computed again.
        batch_size: passes that are prepared at a time.
        progress: is told on every process how many tokens more were computed.
    """

    def __init__(
        self,
        model: Model,
        encoder: Encoder,
        ranks: Ranks = ALONE,
        log: AnswerLog | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        self._model, self._encoder, self._ranks = model, encoder, ranks
        self._log, self._batch_size, self._progress = log, batch_size, progress

    def score(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        """Return the answers to each item's requests, in the items' order. Collective.

        Raises:
            UserError: as `answer`.
        """
        prepared = Prepared(items, self._encoder, self._model.max_length, self._model.shapes)
        if self._log is not None:
            prepared.look_up(self._log)
        return self.answer(prepared)

    def answer(self, prepared: Prepared) -> list[tuple[Answer, ...]]:
        """Return the answers to prepared items; what is known of them is the same on every process. Collective.

        Raises:
            UserError: a text is to be generated, and this model does not; a log-likelihood is not finite; or the disk
                refuses.
        """
        model: Any = self._model
        if prepared.generated_task and not hasattr(model, "generate"):
            raise UserError(
                f"{prepared.generated_task}: its answers are generated, which takes an export; give --export, and one "
                "is made"
            )

        def rows_done(computed: Mapping[int, Sums]) -> None:
            self._note(lambda log: prepared.note_rows(log, computed))
            self._progress(prepared.tokens_of_rows(computed))

        def texts_done(computed: Mapping[int, list[Text]]) -> None:
            self._note(lambda log: prepared.note_texts(log, computed))
            self._progress(prepared.tokens_of_texts(computed))

        def generate(numbers: Sequence[int]) -> dict[int, list[Text]]:
            prompts = prepared.prompts
            return {number: prompts.texts(number, model.generate(prompts.batch(number))) for number in numbers}

        known, count = prepared.known_rows, len(prepared.prompts.passes)
        sums = score_rows(prepared.rows, self._model, self._ranks, self._batch_size, known, rows_done)
        texts = deal_out(count, generate, self._ranks, 1, prepared.known_texts, texts_done)
        return prepared.answers(sums, texts)

    def _note(self, write: Callable[[AnswerLog], None]) -> None:
        def append() -> None:
            if self._log is not None:
                write(self._log)

        self._ranks.on_first(append)


def _check_finite(item: Item, answers: Sequence[Answer]) -> None:
    for answer in answers:
        if not math.isfinite(answer.log_likelihood or 0.0):
            raise UserError(
                f"{item.task}: document {item.number}: a log-likelihood of {answer.log_likelihood}; the weights are "
                "damaged, or their dtype is too narrow: look at the model"
            )


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
    return _by_row(rows, found)


def _by_row(rows: Rows, found: Mapping[int, Sums]) -> list[Sequence[float]]:
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
