"""The rating in what a judge has written."""

from __future__ import annotations

import re

UNRATED = -1
"""FastChat's score for a judgment without a rating."""
LOWEST, HIGHEST = 1, 10
_NUMBER = r"([0-9]+\.?[0-9]*)"
_FORMS = (re.compile(rf"\[\[{_NUMBER}\]\]"), re.compile(rf"\[{_NUMBER}\]"))


def read_rating(judgment: str) -> float | int:
    """Return the first ``[[rating]]`` of a text, or the first ``[rating]`` where it has none, as FastChat does.

    Returns:
        From 1 to 10; `UNRATED` for a text without one, and for any other number.
    """
    for form in _FORMS:
        if found := form.search(judgment):
            text = found[1].rstrip(".")
            rating = float(text) if "." in text else int(text)
            return rating if LOWEST <= rating <= HIGHEST else UNRATED
    return UNRATED
