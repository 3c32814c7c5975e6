"""Quality models as steps: the score is kept on the document, and one below a threshold removes it.

H2O-Danube technical report, section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from data_prep.documents import Document, Removal
from data_prep.quality.folder import DISTRIBUTION, QualityModel, load_quality_model, read_description
from data_prep.quality.options import Kind

_AT_ONCE = 256
_REASON = "low score"


def threshold_for(scores: NDArray[np.float32], keep_fraction: float) -> float:
    """The largest threshold that keeps at least a fraction of the scores, a score at the threshold being kept.

    More are kept only where several scores equal the threshold.

    Args:
        scores: [texts], in any order, float32.
        keep_fraction: above 0 and at most 1; taken as the decimal number that it is written as.

    Raises:
        UserError: there are no scores, one of them is no number, or the fraction is out of range.
    """
    if not 0 < keep_fraction <= 1:
        raise UserError(f"keep_quantile={keep_fraction}: must be a fraction to keep, above 0 and at most 1")
    if not len(scores) or np.isnan(scores).any():
        raise UserError(
            f"keep_quantile={keep_fraction}: needs scores to choose a threshold from, and all of them numbers"
        )
    kept = math.ceil(Fraction(str(keep_fraction)) * len(scores))
    return float(np.partition(scores, len(scores) - kept)[len(scores) - kept])


class QualityStep:
    """Scores documents with a model. An instance is small and picklable; each process loads the model once.

    Args:
        model: a folder that `danube train-quality` wrote.
        threshold: a document of a lower score is removed; None: none is.
        keep_quantile: instead of a threshold, the fraction of raw text to keep: the threshold follows from the scores
            of the raw texts (of all, if they came labelled) that the model's training held out.
        device: for an encoder: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UserError: here, for a folder without such a model, or for a wrong number; when called, for a model that cannot
            be loaded or is another one by now.
    """

    name: str
    kind: ClassVar[Kind]

    def __init__(
        self,
        model: str | Path,
        threshold: float | None = None,
        keep_quantile: float | None = None,
        device: str = "cpu",
    ) -> None:
        key = f"data.steps.{self.name}"
        for option, value in (("threshold", threshold), ("keep_quantile", keep_quantile)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 <= value <= 1):
                raise UserError(f"{key}.{option}={value}: must be a number between 0 and 1")
        if threshold is not None and keep_quantile is not None:
            raise UserError(f"{key}.keep_quantile={keep_quantile}: threshold={threshold} is set too; use one of them")
        try:
            description = read_description(Path(str(model)))
        except UserError as error:
            raise UserError(f"{key}.model={error}") from None
        if description.kind != self.kind:
            raise UserError(
                f"{key}.model={model}: of kind {description.kind}; use data.steps.{description.kind}_quality"
            )
        if keep_quantile is not None:
            threshold = threshold_for(_distribution(Path(str(model))), keep_quantile)
        self._folder, self._device, self._threshold = str(model), device, threshold
        self.options: Mapping[str, object] = {"model": description.identity, "threshold": threshold}

    def __call__(self, document: Document) -> Document | Removal:
        return self.apply_batch([document])[0]

    def apply_batch(self, documents: Sequence[Document]) -> list[Document | Removal]:
        """What becomes of each document, as if called one by one; an encoder is faster with many at once."""
        scores = self.score_batch([document.text for document in documents])
        return [self._judge(document, float(score)) for document, score in zip(documents, scores, strict=True)]

    def score_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts], float32, each between 0 and 1."""
        return _load(self._folder, str(self.options["model"]), self._device).score(texts)

    def keeping(self, keep_fraction: float, texts: Iterable[str]) -> Self:
        """The same step with the threshold that keeps this fraction of these very texts; only their scores are held.

        Raises:
            UserError: there are no texts, or the fraction is out of range.
        """
        remaining = iter(texts)
        parts = [np.zeros(0, np.float32)]
        while part := list(islice(remaining, _AT_ONCE)):
            parts.append(self.score_batch(part))
        return type(self)(self._folder, threshold_for(np.concatenate(parts), keep_fraction), device=self._device)

    def _judge(self, document: Document, score: float) -> Document | Removal:
        if self._threshold is not None and score < self._threshold:
            return Removal(self.name, _REASON, f"{score:.4f}")
        return replace(document, scores={**document.scores, self.name: score})


class GbmQuality(QualityStep):
    """The GBM on the heuristics' numbers."""

    name = "gbm_quality"
    kind = "gbm"


class EncoderQuality(QualityStep):
    """The BERT-class encoder; it reads the beginning of a document, as long as it was trained with."""

    name = "encoder_quality"
    kind = "encoder"


def _distribution(folder: Path) -> NDArray[np.float32]:
    try:
        return np.asarray(np.load(folder / DISTRIBUTION, allow_pickle=False), np.float32)
    except (OSError, ValueError):
        raise UserError(f"{folder / DISTRIBUTION}: cannot be read; copy the model's whole folder again") from None


@cache
def _load(folder: str, identity: str, device: str) -> QualityModel:
    if read_description(Path(folder)).identity != identity:
        raise UserError(f"{folder}: the model has changed meanwhile; start again")
    return load_quality_model(Path(folder), device)
