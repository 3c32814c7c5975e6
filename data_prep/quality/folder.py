"""A quality model's folder: the model's own files, and ``quality.json`` that says what they are and how good."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from custom_modules.errors import UserError
from custom_modules.files import sha256_of, whole_file
from data_prep.quality.options import KINDS, ModelKind

FILE = "quality.json"
_FORMAT = 1


class QualityModel(Protocol):
    """Says how likely a text is a good one, if good and raw ones were equally frequent."""

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the scores of texts: [texts], float32, each between 0 and 1."""


@dataclass(frozen=True)
class ModelDescription:
    """What ``quality.json`` says."""

    format: int
    kind: ModelKind
    scoring: Mapping[str, Any]
    """What a score follows from beside the files."""
    files: Mapping[str, str]
    """The SHA-256 of each file of the model by its name."""
    options: Mapping[str, Any]
    examples: Mapping[str, Any]
    """The ``sha256`` of what it was trained and measured on."""
    report: Mapping[str, Any]
    """What `data_prep.quality.evaluation.Evaluation` holds, as plain values."""

    @property
    def identity(self) -> str:
        """The SHA-256 of all that a score follows from: models of one identity give the same scores."""
        content = [self.format, self.kind, self.scoring, self.files]
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def write_description(
    folder: Path,
    kind: ModelKind,
    scoring: Mapping[str, Any],
    options: Mapping[str, Any],
    examples: Mapping[str, Any],
    report: Mapping[str, Any],
) -> ModelDescription:
    """Put ``quality.json`` beside a model's files."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}
    description = ModelDescription(_FORMAT, kind, scoring, files, options, examples, report)
    whole_file(folder / FILE, orjson.dumps(asdict(description), option=orjson.OPT_INDENT_2))
    return description


def read_description(folder: Path) -> ModelDescription:
    """What a folder says of its model; the model's files are not read.

    Raises:
        UserError: it is no folder of a quality model.
    """
    try:
        content = orjson.loads((folder / FILE).read_bytes())
        description = ModelDescription(**content)
    except (OSError, TypeError, orjson.JSONDecodeError):
        raise UserError(f"{folder}: no quality model; give a folder that `danube train-quality` wrote") from None
    if description.format != _FORMAT or description.kind not in KINDS:
        raise UserError(
            f"{folder}: a quality model of format {description.format} and kind {description.kind}, which this version "
            "does not read; train it again"
        )
    return description


def check_files(folder: Path, description: ModelDescription) -> None:
    """Compare a model's files with their hashes.

    Raises:
        UserError: one is missing, cut short or another one.
    """
    for name, expected in description.files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != expected:
            raise UserError(f"{folder / name}: not the file that {FILE} describes; copy the whole folder again")


def load_quality_model(path: Path, device: str = "cpu") -> QualityModel:
    """Load either kind of model.

    Args:
        path: a folder that `data_prep.quality.train.train_quality` wrote.
        device: for an encoder: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        UserError: no such folder, or one whose files are not those that were written.
    """
    description = read_description(path)
    check_files(path, description)
    return load_model(description.kind, path, description.scoring, device)


def load_model(kind: ModelKind, path: Path, scoring: Mapping[str, Any], device: str) -> QualityModel:
    """Load a model's files as they are."""
    if kind == "gbm":
        from data_prep.quality.gbm import GbmModel

        return GbmModel.load(path, scoring)
    from data_prep.quality.encoder import EncoderModel

    return EncoderModel.load(path, scoring, device)
