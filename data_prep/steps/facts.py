"""Fact pruning: sentences of bare dates and statistics go, conceptual ones stay (LokiLM, section 3.3)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from data_prep.input.documents import Document, Removal
from data_prep.steps.fact_rules import RULES, fact_kind
from data_prep.text.sentences import Sentence, find_sentences

NAME = "facts"
_DIGIT = re.compile(r"\d")
_SOMETHING = re.compile(r"\S")
_ASKS = re.compile("[?\\uff1f\\u061f]")


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence to drop: where it is in the text, and why."""

    start: int
    stop: int
    kind: str


class FactPruning:
    """Drops sentences of bare facts; what stays keeps its every character, its lines and its paragraphs.

    A document without such a sentence comes back as it was. One of nothing else is removed, with the kinds and numbers
    of its sentences as the detail. Off unless it is named: the paper found that its model made up facts for it.
    """

    name = NAME

    def __init__(self) -> None:
        self.options: dict[str, object] = {"rules": RULES}

    def __call__(self, document: Document) -> Document | Removal:
        facts = find_facts(document.text)
        if not facts:
            return document
        text = _without(document.text, facts)
        if not text.strip():
            kinds = Counter(fact.kind for fact in facts)
            return Removal(NAME, "nothing but facts", ", ".join(f"{kind}: {n}" for kind, n in sorted(kinds.items())))
        return replace(document, text=text)


def find_facts(text: str) -> list[Fact]:
    """The sentences to drop, in order.

    A paragraph that asks something is left alone, since its facts are what the answer follows from, and so is a
    sentence that a line break may have cut.
    """
    found: list[Fact] = []
    for _, group in groupby(find_sentences(text, _DIGIT), key=lambda sentence: sentence.paragraph):
        sentences = list(group)
        if not _ASKS.search(text, sentences[0].start, sentences[-1].stop):
            found += list(_facts_of(text, sentences))
    return found


def _facts_of(text: str, sentences: list[Sentence]) -> Iterator[Fact]:
    kinds = [fact_kind(text[each.start : each.stop]) if each.is_certain else None for each in sentences]
    whole_item = all(kinds)
    for sentence, kind in zip(sentences, kinds, strict=True):
        if kind:
            yield Fact(sentence.marker if whole_item else sentence.start, sentence.stop, kind)


def _without(text: str, facts: list[Fact]) -> str:
    kept: list[str] = []
    position = 0
    for start, stop in _runs(text, facts):
        before = text[position:start]
        rest = before.rstrip()
        following = len(text)
        if match := _SOMETHING.search(text, stop):
            following = match.start()
        space = _separator(before[len(rest) :], text[stop:following], not (rest or kept), following == len(text))
        kept += [rest, space]
        position = following
    return "".join([*kept, text[position:]])


def _runs(text: str, facts: list[Fact]) -> Iterator[tuple[int, int]]:
    """Facts with nothing but white space between them, as one."""
    start, stop = facts[0].start, facts[0].stop
    for fact in facts[1:]:
        if text[stop : fact.start].strip():
            yield start, stop
            start = fact.start
        stop = fact.stop
    yield start, stop


def _separator(before: str, behind: str, is_first: bool, is_last: bool) -> str:
    """Choose of the white space on the two sides of what was dropped what parts more; the next line's indent stays."""
    if is_last:
        return behind
    if "\n" not in behind:
        return before or ("" if is_first else behind)
    if not is_first and before.count("\n") <= behind.count("\n"):
        return behind
    return before[: before.rfind("\n") + 1] + behind[behind.rfind("\n") + 1 :]
