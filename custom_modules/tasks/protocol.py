"""The protocol of the reports' figures: EleutherAI's harness as the Open LLM Leaderboard had it.

That is commit b281b0921b636bc36ad05c0b0b0763bd6dd43463 of June 2023, which section 5 of Danube's report names. Its
prompts and counts are today's but for what is here.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

COMMIT = "b281b0921b636bc36ad05c0b0b0763bd6dd43463"

MAX_NEW_TOKENS = 256
"""Of a generated answer; today's harness has the same."""

TASKS = frozenset(
    (
        "arc_challenge",
        "arc_easy",
        "boolq",
        "gsm8k",
        "hellaswag",
        "openbookqa",
        "piqa",
        "triviaqa",
        "truthfulqa_mc1",
        "truthfulqa_mc2",
        "winogrande",
    )
)
"""What the protocol is known for, beside MMLU's subjects."""

_SEED = 42
_ANSWER = re.compile(r"#### (\-?[0-9\.\,]+)")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def is_known(task: str) -> bool:
    """Tell whether the protocol says how a task was done."""
    return task in TASKS or task.startswith("mmlu_")


@dataclass(frozen=True)
class Draws:
    """Which documents are asked, in that order, and which of the training split each has in front."""

    order: tuple[int, ...]
    examples: tuple[tuple[int, ...], ...]


def draw(documents: int, pool: int, shots: int, limit: int | None) -> Draws:
    """Draw a task's documents and their examples.

    One generator shuffles the documents, and then samples each one's examples in that order, the document itself not
    left out. A limit takes the first so many, whose prompts are the same as without it.

    Args:
        documents: in the evaluated split.
        pool: in the split of the examples; 0 where none are drawn.
        shots: of each document, at most ``pool``.
        limit: of documents; None for all.
    """
    source = Random(_SEED)
    order = list(range(documents))
    source.shuffle(order)
    order = order[:limit]
    return Draws(tuple(order), tuple(tuple(source.sample(range(pool), shots)) if pool else () for _ in order))


def differences(task: str) -> dict[str, Any]:
    """Return what a task's settings in today's library have to be instead."""
    if task == "triviaqa":
        return {"doc_to_text": _trivia_question, "doc_to_target": _trivia_answer}
    if task == "gsm8k":
        return {"generation_kwargs": {"until": [":", "Question:", "Question"], "do_sample": False}}
    return {}


def _trivia_question(document: Mapping[str, Any]) -> str:
    return f"Question: {document['question']}\nAnswer:"


def _trivia_answer(document: Mapping[str, Any]) -> str:
    return str(document["answer"]["value"])


def is_exact_match(task: str, document: Mapping[str, Any], text: str) -> bool:
    """Tell whether a generated answer is right.

    Raises:
        KeyError: answers to such a task are not generated.
    """
    return {"gsm8k": _is_right_number, "triviaqa": _is_right_alias}[task](document, text)


def _is_right_number(document: Mapping[str, Any], text: str) -> bool:
    """Compare numbers as they are spelled, but for their commas: ``18.`` is not ``18``."""
    found, right = _ANSWER.search(text), _ANSWER.search(document["answer"])
    return found is not None and right is not None and _number(found) == _number(right)


def _number(found: re.Match[str]) -> str:
    return found[1].strip().replace(",", "")


def _is_right_alias(document: Mapping[str, Any], text: str) -> bool:
    return _plain(text.strip()) in map(_plain, _without_longer(document["answer"]["aliases"]))


def _without_longer(aliases: Sequence[str]) -> list[str]:
    """Drop the aliases that begin with another one."""
    kept: list[str] = []
    for alias in sorted(aliases):
        if not kept or not alias.startswith(kept[-1]):
            kept.append(alias)
    return kept


def _plain(text: str) -> str:
    return text.lower().translate(_WITHOUT_PUNCTUATION)
