"""The best fraction of a corpus: the threshold that the scores of all its documents give, and the cut there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from data_prep.across.order import kth_smallest
from data_prep.across.partitions import pieces_of
from data_prep.input.documents import Document, Removal, ScoringStep
from data_prep.work.progress import count, say

_SCORE = np.dtype("<f4")
_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Scores:
    """The scores in some files, some at a time; they can be iterated several times."""

    files: Sequence[Path]
    """[documents], float32."""

    def __len__(self) -> int:
        return sum(path.stat().st_size for path in self.files) // _SCORE.itemsize

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for path in self.files:
            yield from pieces_of(path, _SCORE, _AT_ONCE)


def threshold_for(scores: Iterable[NDArray[np.float32]], count: int, keep_fraction: float) -> float:
    """The largest threshold that keeps at least a fraction of the scores, a score at the threshold being kept.

    More are kept only where several scores equal the threshold.

    Args:
        scores: in any order, in pieces of [documents], float32; they are iterated several times.
        count: how many, at least one.
        keep_fraction: above 0 and at most 1; taken as the decimal number that it is written as.
    """
    below = count - math.ceil(Fraction(str(keep_fraction)) * count)
    return float(kth_smallest(scores, below))


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

    Memory does not grow with them.

    Args:
        files: the step's scores of each unit's documents: [documents], float32.

    Raises:
        UserError: a score that is no number.
    """
    assert step.keep_quantile is not None
    scores = Scores(files)
    documents = len(scores)
    if not documents:
        return ()
    if any(np.isnan(piece).any() for piece in scores):
        raise UserError(f"data.steps.{step.name}.model: gives scores that are no numbers; train it again")
    threshold = threshold_for(scores, documents, step.keep_quantile)
    kept = sum(int(np.count_nonzero(piece >= threshold)) for piece in scores)
    say(
        f"{step.name}: the best {100 * step.keep_quantile:g}% of {count(documents, 'document')} score "
        f"{np.float32(threshold)!s} or more; {documents - kept:,} dropped"
    )
    return (ScoreCut(step.name, threshold, step.keep_quantile),)
