"""What a quality model is worth, measured on the examples that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from data_prep.quality.examples import CLASSES, Examples
from data_prep.quality.metrics import (
    AtThreshold,
    Bin,
    Scores,
    at_threshold,
    average_precision,
    calibration,
    roc_auc,
)
from data_prep.quality.options import ModelKind

_THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))


@dataclass(frozen=True)
class Evaluation:
    """All but ``read``, ``rejected`` and ``train`` is of the held-out examples."""

    kind: ModelKind
    read: Mapping[str, int]
    """Texts by class before copies, and those above ``max_examples``, were left out."""
    rejected: int
    """Records that are no text."""
    train: Mapping[str, int]
    """Examples by class."""
    held_out: Mapping[str, int]
    roc_auc: float
    average_precision: float
    chosen: AtThreshold
    """What is kept and removed at ``threshold``."""
    thresholds: Sequence[AtThreshold]
    calibration: Sequence[Bin]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_json(self) -> str:
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2).decode()

    def as_text(self) -> str:
        """Return plain text for a terminal, of less than 100 columns."""
        return "\n".join([*self._head(), "", *self._threshold_table(), "", *self._calibration_table()])

    def _head(self) -> list[str]:
        read = ", ".join(f"{self.read[name]:,} {name}" for name in CLASSES)
        chosen = self.chosen
        return [
            f"quality model ({self.kind})",
            f"read         {read} texts; {self.rejected:,} records were no text",
            f"trained on   {_share(self.train)}",
            f"held out     {_share(self.held_out)}; all below is measured on these",
            f"ROC AUC      {self.roc_auc:.4f}",
            f"average precision {self.average_precision:.4f}",
            f"at {chosen.threshold:g}: keeps {chosen.good_kept:,} good and {chosen.raw_kept:,} raw texts, removes "
            f"{chosen.good_removed:,} good and {chosen.raw_removed:,} raw",
        ]

    def _threshold_table(self) -> list[str]:
        rows = [
            f"{row.threshold:>9.3f} {row.precision:>9.3f} {row.recall:>9.3f} {row.f1:>9.3f} "
            f"{row.raw_kept / (row.raw_kept + row.raw_removed):>9.3f}{'  <- chosen' if row == self.chosen else ''}"
            for row in self.thresholds
        ]
        return [f"{'threshold':>9} {'precision':>9} {'recall':>9} {'F1':>9} {'raw kept':>9}", *rows]

    def _calibration_table(self) -> list[str]:
        rows = [
            f"{number:>9} {row.examples:>9,} {row.lowest:>9.4f} {row.highest:>9.4f} {row.mean_score:>9.4f} "
            f"{row.good_share:>9.4f} {row.balanced_good_share:>9.4f}"
            for number, row in enumerate(self.calibration, start=1)
        ]
        heads = ("decile", "examples", "lowest", "highest", "mean", "good", "balanced")
        note = "balanced: the good share if both classes were equally frequent; a calibrated mean score equals it"
        return [" ".join(f"{head:>9}" for head in heads), *rows, note]


def evaluate(kind: ModelKind, examples: Examples, scores: Scores, threshold: float) -> Evaluation:
    """Measure how well scores tell the good texts.

    Args:
        scores: [held-out examples], in their order.
        threshold: for the confusion.
    """
    labels = examples.part(held_out=True)[1]
    return Evaluation(
        kind=kind,
        read=dict(zip(CLASSES, examples.read, strict=True)),
        rejected=examples.rejected,
        train=examples.counts(held_out=False),
        held_out=examples.counts(held_out=True),
        roc_auc=roc_auc(scores, labels),
        average_precision=average_precision(scores, labels),
        chosen=at_threshold(scores, labels, threshold),
        thresholds=[at_threshold(scores, labels, each) for each in sorted({*_THRESHOLDS, threshold})],
        calibration=calibration(scores, labels),
    )


def _share(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return f"{total:,} examples, {counts['good'] / total:.1%} of them good"
