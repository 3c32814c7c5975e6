"""The best fraction of a corpus: the threshold that the scores of all its documents give, and the cut there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal, ScoringStep
from data_prep.work.progress import count, say


def threshold_for(scores: NDArray[np.float32], keep_fraction: float) -> float:
    """The largest threshold that keeps at least a fraction of the scores, a score at the threshold being kept.

    More are kept only where several scores equal the threshold.

    Args:
        scores: [documents], in any order, float32, at least one; they are brought into another order.
        keep_fraction: above 0 and at most 1; taken as the decimal number that it is written as.
    """
    below = len(scores) - math.ceil(Fraction(str(keep_fraction)) * len(scores))
    scores.partition(below)
    return float(scores[below])


class ScoreCut:
    """Removes documents that a step scored below a threshold.

    Args:
        name: the step's.
        keep_quantile: what the threshold follows from.
    """

    def __init__(self, name: str, threshold: float, keep_quantile: float) -> None:
        self.name = name
        self._threshold = threshold
        self._reason = f"score below {np.float32(threshold)!s}, the cut for the best {100 * keep_quantile:g}%"
        self.options: Mapping[str, object] = {"threshold": threshold, "keep_quantile": keep_quantile}

    def __call__(self, document: Document) -> Document | Removal:
        score = document.scores[self.name]
        return Removal(self.name, self._reason, f"{score:.4f}") if score < self._threshold else document


def find_cut(step: ScoringStep, files: Sequence[Path]) -> tuple[ScoreCut, ...]:
    """The cut that keeps ``keep_quantile`` of all documents; none where there is no document.

    Memory: 5 bytes a document.

    Args:
        files: the step's scores of each unit's documents: [documents], float32.

    Raises:
        UserError: a score that is no number.
    """
    assert step.keep_quantile is not None
    scores = np.empty(sum(path.stat().st_size for path in files) // 4, "<f4")
    filled = 0
    for path in files:
        part = np.fromfile(path, "<f4")
        scores[filled : filled + part.size] = part
        filled += part.size
    if not scores.size:
        return ()
    if np.isnan(scores.min()):
        raise UserError(f"data.steps.{step.name}.model: gives scores that are no numbers; train it again")
    threshold = threshold_for(scores, step.keep_quantile)
    kept = int(np.count_nonzero(scores >= threshold))
    say(
        f"{step.name}: the best {100 * step.keep_quantile:g}% of {count(scores.size, 'document')} score "
        f"{np.float32(threshold)!s} or more; {scores.size - kept:,} dropped"
    )
    return (ScoreCut(step.name, threshold, step.keep_quantile),)
