"""A document on its way from a reader to the tokenizer, and the steps that may change or remove it in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


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
class Removal:
    """A document that a step took out, and why."""

    step: str
    """The step's name, such as ``gopher_quality``."""
    reason: str
    """One of a few per step, such as ``too few words``: documents are counted by it."""
    detail: str = ""
    """What it was in this document, such as the number of words."""


class Step(Protocol):
    """A filter or a rewriting: small, without state that changes from document to document, and picklable.

    What defines its outcome beside the document is in ``options``: plain values, part of the dataset's identity.
    """

    name: str
    options: Mapping[str, object]

    def __call__(self, document: Document) -> Document | Removal:
        """The document, changed or as it was, or its removal."""


def apply_steps(document: Document, steps: Sequence[Step]) -> Document | Removal:
    for step in steps:
        outcome = step(document)
        if isinstance(outcome, Removal):
            return outcome
        document = outcome
    return document
