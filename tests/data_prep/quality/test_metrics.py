from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from data_prep.quality.metrics import at_threshold, average_precision, calibration, class_weights, roc_auc


def example(seed: int, digits: int, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Scores, many of them equal when they have few digits, and labels that they tell apart to a degree."""
    source = np.random.default_rng(seed)
    labels = (source.random(count) < 0.2).astype(np.uint8)
    scores = np.clip(source.normal(0.4 + 0.2 * labels, 0.2), 0, 1).round(digits).astype(np.float32)
    return scores, labels


@pytest.mark.parametrize("digits", [0, 1, 2, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_areas_and_rates_are_scikit_learns(seed: int, digits: int) -> None:
    scores, labels = example(seed, digits)
    assert roc_auc(scores, labels) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(
        reference.average_precision_score(labels, scores), abs=1e-12
    )
    for threshold in (0.0, 0.3, 0.5, float(scores[0]), 1.0):
        found, kept = at_threshold(scores, labels, threshold), scores >= threshold
        for name in ("precision", "recall", "f1"):
            theirs = getattr(reference, f"{name}_score")(labels, kept, zero_division=0)
            assert getattr(found, name) == pytest.approx(theirs, abs=1e-12)
        confusion = reference.confusion_matrix(labels, kept, labels=[0, 1])
        assert [[found.raw_removed, found.raw_kept], [found.good_removed, found.good_kept]] == confusion.tolist()


def test_nothing_kept_is_a_precision_of_0() -> None:
    scores, labels = np.array([0.1, 0.2], np.float32), np.array([0, 1], np.uint8)
    found = at_threshold(scores, labels, 0.9)
    assert (found.precision, found.recall, found.f1) == (0, 0, 0)


def test_class_weights_make_both_classes_weigh_the_same() -> None:
    labels = np.array([0] * 30 + [1] * 10, np.uint8)
    weights = class_weights(labels)
    assert weights.tolist() == pytest.approx([2 / 3, 2])
    assert weights[labels].sum() == pytest.approx(len(labels))


def test_calibration_is_of_ten_equal_bins() -> None:
    scores, labels = example(2, 7, 1_003)
    bins = calibration(scores, labels)
    assert [row.examples for row in bins] == [101] * 3 + [100] * 7
    order = np.argsort(scores)
    ratio = (labels == 0).sum() / labels.sum()
    for row, part in zip(bins, np.array_split(order, 10), strict=True):
        good = labels[part].mean()
        assert (row.lowest, row.highest) == (scores[part].min(), scores[part].max())
        assert row.mean_score == pytest.approx(scores[part].mean(), abs=1e-6)
        assert row.good_share == pytest.approx(good)
        assert row.balanced_good_share == pytest.approx(good * ratio / (good * ratio + 1 - good), abs=1e-6)


def test_a_calibrated_score_has_the_balanced_share_as_its_mean() -> None:
    source = np.random.default_rng(5)
    balanced = source.random(200_000)
    labels = (source.random(balanced.size) < balanced).astype(np.uint8)
    thinned = np.flatnonzero((labels == 0) | (source.random(balanced.size) < 0.1))
    for row in calibration(balanced[thinned].astype(np.float32), labels[thinned]):
        assert row.balanced_good_share == pytest.approx(row.mean_score, abs=0.03)


def test_fewer_examples_than_bins_leave_bins_out() -> None:
    scores, labels = np.array([0.1, 0.8, 0.4], np.float32), np.array([0, 1, 0], np.uint8)
    assert [row.examples for row in calibration(scores, labels)] == [1, 1, 1]
