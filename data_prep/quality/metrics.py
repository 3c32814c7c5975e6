"""How well scores tell good texts from raw ones. Plain formulas, scikit-learn's to the last digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Labels = NDArray[np.uint8]
_BINS = 10


def class_weights(labels: Labels) -> NDArray[np.float32]:
    """Return what an example of each label weighs so that both classes weigh the same, and all 1 on average: [2]."""
    counts = np.bincount(labels, minlength=2)
    return np.asarray(len(labels) / (2 * counts), np.float32)


def roc_auc(scores: Scores, labels: Labels) -> float:
    """The probability that a good text's score is above a raw one's, equal scores counting half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    good = int(labels.sum())
    return float((ranks[labels == 1].sum() - good * (good + 1) / 2) / (good * (len(labels) - good)))


def average_precision(scores: Scores, labels: Labels) -> float:
    """Return the mean precision over all different scores, each weighted by what it adds to the recall."""
    order = np.argsort(-scores, kind="stable")
    last_of_its_score = np.append(np.diff(scores[order]) != 0, True)
    true_good = np.cumsum(labels[order], dtype=np.int64)[last_of_its_score]
    kept = np.flatnonzero(last_of_its_score) + 1
    return float(np.sum(np.diff(true_good, prepend=0) / true_good[-1] * (true_good / kept)))


@dataclass(frozen=True)
class AtThreshold:
    """What keeping texts with scores from a threshold on does."""

    threshold: float
    good_kept: int
    good_removed: int
    raw_kept: int
    raw_removed: int
    precision: float
    """The share of good texts among those kept; 0 if none is."""
    recall: float
    """The share of kept texts among the good ones."""
    f1: float


def at_threshold(scores: Scores, labels: Labels, threshold: float) -> AtThreshold:
    """Count; a text is kept if its score is at or above the threshold."""
    kept = scores >= threshold
    good_kept, good = int(kept[labels == 1].sum()), int(labels.sum())
    raw_kept, raw = int(kept[labels == 0].sum()), len(labels) - good
    precision = good_kept / max(good_kept + raw_kept, 1)
    recall = good_kept / good
    f1 = 2 * good_kept / (good_kept + raw_kept + good)
    return AtThreshold(threshold, good_kept, good - good_kept, raw_kept, raw - raw_kept, precision, recall, f1)


@dataclass(frozen=True)
class Bin:
    """Texts of neighbouring scores."""

    examples: int
    lowest: float
    highest: float
    mean_score: float
    good_share: float
    """The share of good texts among them."""
    balanced_good_share: float
    """The same if both classes were equally frequent, which a calibrated model's mean score equals."""


def calibration(scores: Scores, labels: Labels) -> Sequence[Bin]:
    """Sort scores into ten bins of equal size, the lowest first; empty ones are left out."""
    weights = class_weights(labels)
    order = np.argsort(scores, kind="stable")
    return [_bin(scores[part], labels[part], weights) for part in np.array_split(order, _BINS) if len(part)]


def _bin(scores: Scores, labels: Labels, weights: NDArray[np.float32]) -> Bin:
    good, raw = int(labels.sum()), int(len(labels) - labels.sum())
    good_weight, raw_weight = good * float(weights[1]), raw * float(weights[0])
    return Bin(
        len(scores),
        float(scores[0]),
        float(scores[-1]),
        float(scores.mean(dtype=np.float64)),
        good / len(labels),
        good_weight / (good_weight + raw_weight),
    )
