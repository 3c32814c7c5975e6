"""Quality models as steps: the score is kept on the document, and a low one removes it.

H2O-Danube technical report, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import QualityStepOptions
from custom_modules.data_steps.read import keys_in_full
from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.quality.folder import QualityModel, check_files, load_quality_model, read_description
from data_prep.quality.options import ModelKind

_REASON = "low score"


class QualityStep:
    """Scores documents with a model. An instance is small and picklable; each process loads the model once.

    Args:
        model: a folder that `danube train-quality` wrote.
        threshold: a document of a lower score is removed; None: none is.
        keep_quantile: instead of a threshold, the fraction to keep of the documents of the whole corpus, whatever their
            source, that reach the step: those with the highest scores, and all that score as the last of them. The
            step itself removes none: `data_prep.across.quantile` does when all have been scored.
        device: for an encoder: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UserError: here, for a folder without such a model, or with a file that is cut short; when called, for a model
            that cannot be loaded or is another one by now.
    """

    name: str
    kind: ClassVar[ModelKind]

    def __init__(
        self,
        model: str | Path,
        threshold: float | None = None,
        keep_quantile: float | None = None,
        device: str = "cpu",
    ) -> None:
        key = f"data.steps.{self.name}"
        if threshold is not None and keep_quantile is not None:
            raise UserError(f"{key}.keep_quantile={keep_quantile}: threshold={threshold} is set too; use one of them")
        try:
            description = read_description(Path(str(model)))
            check_files(Path(str(model)), description)
        except UserError as error:
            raise UserError(f"{key}.model={error}, or leave the step out: {key}=null") from None
        if description.kind != self.kind:
            raise UserError(
                f"{key}.model={model}: of kind {description.kind}; use data.steps.{description.kind}_quality"
            )
        self._folder, self._device, self._threshold = str(model), device, threshold
        self.keep_quantile = keep_quantile
        self.options: Mapping[str, object] = {
            "model": description.identity,
            "threshold": threshold,
            "keep_quantile": keep_quantile,
        }

    def __call__(self, document: Document) -> Document | Removal:
        return self.apply_batch([document])[0]

    def apply_batch(self, documents: Sequence[Document]) -> list[Document | Removal]:
        """What becomes of each document, as if called one by one; an encoder is faster with many at once."""
        scores = self.score_batch([document.text for document in documents])
        return [self._judge(document, float(score)) for document, score in zip(documents, scores, strict=True)]

    def score_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the scores of texts: [texts], float32, each between 0 and 1."""
        with keys_in_full(self.name, QualityStepOptions):
            model = _load(self._folder, str(self.options["model"]), self._device)
        return model.score(texts)

    def _judge(self, document: Document, score: float) -> Document | Removal:
        if self._threshold is not None and score < self._threshold:
            return Removal(self.name, _REASON, f"{score:.4f}", {self.name: score})
        return replace(document, scores={**document.scores, self.name: score})


class GbmQuality(QualityStep):
    """The GBM on the heuristics' numbers."""

    name = "gbm_quality"
    kind = "gbm"


class EncoderQuality(QualityStep):
    """The BERT-class encoder; it reads the beginning of a document, as long as it was trained with."""

    name = "encoder_quality"
    kind = "encoder"


@cache
def _load(folder: str, identity: str, device: str) -> QualityModel:
    if read_description(Path(folder)).identity != identity:
        raise UserError(f"{folder}: the model has changed meanwhile; start again")
    return load_quality_model(Path(folder), device)
