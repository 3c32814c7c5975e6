"""A document on its way from a reader to the tokenizer, and the steps that may change or reject it in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """One text."""

    text: str
    line: int
    """Where it begins: the line, or Parquet row, from 1 at the start of its segment."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record or document that goes no further."""

    reason: str
    line: int


Step = Callable[[Document], Document | Rejection]
"""Filters, deduplication and rewriting take this form. A step is a module-level function: its name is an option that
defines the dataset, and it is called in worker processes."""


def reject_empty(document: Document) -> Document | Rejection:
    """Megatron's format has no document without tokens, and white space alone teaches nothing."""
    return document if document.text.strip() else Rejection("the text is empty", document.line)


STEPS: tuple[Step, ...] = (reject_empty,)
"""What every document goes through, in order, after reading and before tokenizing."""


def apply_steps(document: Document, steps: Sequence[Step] = STEPS) -> Document | Rejection:
    for step in steps:
        outcome = step(document)
        if isinstance(outcome, Rejection):
            return outcome
        document = outcome
    return document
