"""How a model's answers are generated, by category."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from custom_modules.mt_bench.questions import Question

MAX_NEW_TOKENS = 1_024
"""FastChat's."""
REPETITION_PENALTY = 1.1
"""Section 6.3's; it counts the tokens of the prompt, too."""
TEMPERATURE = 0.0
"""Section 6.3's, for every category."""
OFFICIAL_TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
"""FastChat's."""
_OTHER_OFFICIAL_TEMPERATURE = 0.7
TOP_K = 50
"""Of transformers, with which FastChat samples. Nothing else is cut off."""


@dataclass(frozen=True)
class Generation:
    """What answers are generated with.

    Attributes:
        is_official: FastChat's temperatures by category, instead of 0.
        max_new_tokens: of an answer.
        seed: of what is drawn, together with the question's id.
    """

    is_official: bool = False
    max_new_tokens: int = MAX_NEW_TOKENS
    seed: int = 0

    def temperature(self, category: str) -> float:
        """Return that of a category; at 0 nothing is drawn."""
        if not self.is_official:
            return TEMPERATURE
        return OFFICIAL_TEMPERATURES.get(category, _OTHER_OFFICIAL_TEMPERATURE)

    def settings(self, questions: Iterable[Question]) -> dict[str, Any]:
        """Return all of it for a record; the seed only where something is drawn."""
        temperatures = {category: self.temperature(category) for category in sorted({q.category for q in questions})}
        drawn = {"top_k": TOP_K, "seed": self.seed} if any(temperatures.values()) else {}
        return {
            "temperature": temperatures,
            "repetition_penalty": REPETITION_PENALTY,
            "max_new_tokens": self.max_new_tokens,
            **drawn,
        }
