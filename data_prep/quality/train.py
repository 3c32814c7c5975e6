"""`danube train-quality`: examples in, a model's folder and an evaluation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.quality.evaluation import Evaluation, evaluate
from data_prep.quality.examples import Examples, read_examples
from data_prep.quality.folder import load_model, write_description
from data_prep.quality.options import EncoderOptions, GbmOptions, ModelKind, QualityOptions, read_options


def train_quality(
    kind: ModelKind,
    output: Path,
    good: Sequence[Path] = (),
    raw: Sequence[Path] = (),
    labelled: Sequence[Path] = (),
    options: Mapping[str, object] | None = None,
) -> Evaluation:
    """Train a model, measure it as it was saved, and publish its folder.

    Args:
        kind: ``gbm`` or ``encoder``.
        output: the folder to write; it must not be there.
        good, raw: files or folders of reference and of raw text.
        labelled: JSON lines with ``label`` or ``score``, instead of both.
        options: as `GbmOptions` or `EncoderOptions` name them; numbers may be given as text.

    Raises:
        UserError: one line, for whatever is wrong with the arguments or their files; nothing is left behind.
    """
    from custom_modules.files import whole_folder
    from custom_modules.made import note_files

    settings = read_options(kind, options or {})
    with whole_folder(output) as folder:
        examples = read_examples(good, raw, labelled, output, settings)
        scoring = _train(*examples.part(held_out=False), settings, folder)
        device = settings.device if isinstance(settings, EncoderOptions) else "cpu"
        texts, _ = examples.part(held_out=True)
        scores = load_model(kind, folder, scoring, device).score(texts)
        report = evaluate(kind, examples, scores, settings.threshold)
        write_description(folder, kind, scoring, settings.model_dump(), _describe(examples), report.as_dict())
        note_files(folder)
    return report


def _train(texts: Sequence[str], labels: NDArray[np.uint8], options: QualityOptions, folder: Path) -> dict[str, Any]:
    if isinstance(options, GbmOptions):
        from data_prep.quality.gbm import train_gbm

        return train_gbm(texts, labels, options, folder)
    from data_prep.quality.encoder import train_encoder

    assert isinstance(options, EncoderOptions)
    return train_encoder(texts, labels, options, folder)


def _describe(examples: Examples) -> dict[str, Any]:
    return {
        "sha256": examples.sha256,
        "train": examples.counts(held_out=False),
        "held_out": examples.counts(held_out=True),
    }
