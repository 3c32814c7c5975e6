"""A document on its way from a reader to the tokenizer, and the steps that may change or remove it in between."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from data_prep.text.normalize import nfkc_casefold

DIGEST_BYTES = 16
EMPTY_TEXT = "the text is empty"  # the format has no document without tokens, and white space alone teaches nothing
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Document:
    """One text."""

    text: str
    line: int
    """Where it begins: the line, or Parquet row, from 1 at the start of its segment."""
    url: str | None = None
    """Where it was found, if its record says so."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What models said of it, by the model's name."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is no document: it cannot be read."""

    reason: str
    line: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a file, or the rest of it, cannot be read. That is no record's fault, and not counted as a record."""

    reason: str
    is_lost: bool = True
    """Whether text may be lost with it; else it is worth a warning only."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A document that a step took out, and why."""

    step: str
    """The step's name, such as ``gopher_quality``."""
    reason: str
    """One of a few per step, such as ``too few words``: documents are counted by it."""
    detail: str = ""
    """What it was in this document, such as the number of words."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What models said of the document, by the model's name."""


class Step(Protocol):
    """A filter or a rewriting: small, without state that changes from document to document, and picklable.

    What defines its outcome beside the document is in ``options``: plain values, part of the dataset's identity.
    """

    name: str
    options: Mapping[str, object]

    def __call__(self, document: Document) -> Document | Removal:
        """The document, changed or as it was, or its removal."""


@runtime_checkable
class BatchStep(Step, Protocol):
    """A step that is faster over many documents at once."""

    def apply_batch(self, documents: Sequence[Document]) -> Sequence[Document | Removal]:
        """What a call for each document gives."""


@runtime_checkable
class ScoringStep(Step, Protocol):
    """A step that puts a score under its name on every document that it does not remove."""

    keep_quantile: float | None
    """The fraction to keep of the documents that reach it, those with the highest scores; that takes the scores of
    all, so it removes none by itself. None: it judges each document alone."""


@runtime_checkable
class BenchmarkStep(Step, Protocol):
    """A step that removes by benchmarks, and can say for each what its removals were."""

    def benchmark_hits(self, removals: Iterable[Removal]) -> list[dict[str, Any]]:
        """Return a row for each benchmark, from the removals of any steps."""

    def coverage(self) -> list[str]:
        """Say, in a line for each benchmark, how much of it can be found."""


def document_of(text: object, url: object, text_key: str, line: int) -> Document | Rejection:
    """Return the document of a record.

    Args:
        text, url: its fields, as they come; a text may be bytes of UTF-8.
        text_key: the name of the first.
        line: where it begins.
    """
    if isinstance(text, str):
        if text.strip():
            return Document(text, line, url if isinstance(url, str) else None)
        return Rejection(EMPTY_TEXT, line)
    if isinstance(text, bytes):
        try:
            return document_of(text.decode(), url, text_key, line)
        except UnicodeDecodeError as error:
            return Rejection(f"invalid UTF-8 at byte {error.start} of the text", line)
    return Rejection(f"{text_key!r} is {'null' if text is None else type(text).__name__}, not a string", line)


def apply_steps(documents: Sequence[Document], steps: Sequence[Step]) -> list[Document | Removal]:
    """What becomes of each document; a removed one goes no further."""
    outcomes: list[Document | Removal] = list(documents)
    for step in steps:
        left = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Document)]
        texts = [document for _, document in left]
        results = step.apply_batch(texts) if isinstance(step, BatchStep) else map(step, texts)
        for (index, before), result in zip(left, results, strict=True):
            emptied = isinstance(result, Document) and not result.text.strip()
            outcome = Removal(step.name, "nothing is left of it") if emptied else result
            if isinstance(outcome, Removal):
                outcome = replace(outcome, scores={**before.scores, **outcome.scores})
            outcomes[index] = outcome
    return outcomes


def digest(text: str) -> bytes:
    """Return 16 bytes that texts of the same words have in common."""
    words = _NO_WORD.sub(" ", nfkc_casefold(text)).strip()
    return hashlib.blake2b((words or text).encode(), digest_size=DIGEST_BYTES).digest()
