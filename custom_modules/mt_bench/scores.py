"""Means of ratings, each with how many answers it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from custom_modules.mt_bench.questions import TURNS, Question

WITHOUT = "coding"
"""The category that section 6.3 leaves out."""


def chosen(questions: Iterable[Question], all_categories: bool) -> list[Question]:
    """Return the questions that are asked: all, or those of section 6.3."""
    return [question for question in questions if all_categories or question.category != WITHOUT]


@dataclass(frozen=True)
class Mean:
    """The mean of some answers' ratings.

    Attributes:
        value: None where none is rated.
        rated: how many are in it.
        unrated: how many are left out.
    """

    value: float | None
    rated: int
    unrated: int

    @classmethod
    def of(cls, ratings: Iterable[float | None]) -> Mean:
        """Average ratings, those that are None left out."""
        every = list(ratings)
        found = [rating for rating in every if rating is not None]
        value = sum(found) / len(found) if found else None
        return cls(value, len(found), len(every) - len(found))

    def to_json(self) -> dict[str, float | int | None]:
        """Return what the file of results has of it."""
        return {"mean": self.value, "rated": self.rated, "unrated": self.unrated}


@dataclass(frozen=True)
class Scores:
    """All means of a model.

    Attributes:
        categories: in Table 3's order, which is the alphabet's.
        by_category: of each turn.
        by_turn: over the questions of a turn.
        both_turns: over all answers, which is FastChat's average.
        unrated: question's id and turn of the answers without a rating.
    """

    categories: tuple[str, ...]
    by_category: Mapping[int, Mapping[str, Mean]]
    by_turn: Mapping[int, Mean]
    both_turns: Mean
    unrated: tuple[tuple[int, int], ...]


def score(questions: Sequence[Question], ratings: Mapping[tuple[int, int], float | None]) -> Scores:
    """Average a model's ratings.

    Args:
        ratings: by question's id and turn, of all questions and both turns; None for an unrated answer.
    """
    categories = tuple(sorted({question.category for question in questions}))
    return Scores(
        categories,
        {
            turn: {
                category: Mean.of(ratings[question.id, turn] for question in questions if question.category == category)
                for category in categories
            }
            for turn in TURNS
        },
        {turn: Mean.of(ratings[question.id, turn] for question in questions) for turn in TURNS},
        Mean.of(ratings[question.id, turn] for turn in TURNS for question in questions),
        tuple((question.id, turn) for turn in TURNS for question in questions if ratings[question.id, turn] is None),
    )
