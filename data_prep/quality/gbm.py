"""A gradient boosting machine, LightGBM, on the numbers that the heuristics look at.

H2O-Danube technical report, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from data_prep.quality.metrics import class_weights
from data_prep.quality.options import GbmOptions

if TYPE_CHECKING:
    from lightgbm import Booster

FILE = "model.txt"
_PROBE = (
    "The Danube is 2,850 km long; it rises in Donaueschingen, where two streams meet.\n\n- Ulm, Linz, Vienna...\n"
    "- Budapest and BELGRADE\n\nRead more at https://example.org {now}! Read more at https://example.org {now}!\n"
)
"""A text whose features differ when their rules do."""


class GbmModel:
    """A `data_prep.quality.folder.QualityModel`."""

    def __init__(self, booster: Booster, names: Sequence[str]) -> None:
        self._booster, self._names = booster, names

    @classmethod
    def load(cls, folder: Path, scoring: Mapping[str, Any]) -> GbmModel:
        """Read ``model.txt``.

        Args:
            scoring: what `train` returned.

        Raises:
            UserError: it cannot be read, or was trained on other features than there are now.
        """
        lightgbm = _lightgbm()
        if probe_features() != scoring["features"]:
            raise UserError(f"{folder}: trained when the features were computed otherwise; train it again")
        try:
            return cls(lightgbm.Booster(model_file=folder / FILE), list(scoring["features"]))
        except lightgbm.basic.LightGBMError as error:
            raise UserError(f"{folder / FILE}: LightGBM cannot read it ({' '.join(str(error).split())})") from None

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros(0, np.float32)
        scores = self._booster.predict(feature_matrix(texts, self._names), num_threads=1)
        return np.asarray(scores, np.float32)


def train_gbm(texts: Sequence[str], labels: NDArray[np.uint8], options: GbmOptions, folder: Path) -> dict[str, Any]:
    """Train, both classes weighing the same, and write ``model.txt``. The same input gives the same bytes.

    Args:
        labels: [texts], 0 or 1, both of them there.

    Returns:
        What `GbmModel.load` needs beside the file: the value of each feature for a certain text, in the model's order.

    Raises:
        UserError: LightGBM, or what the features are computed with, is not installed.
    """
    lightgbm = _lightgbm()
    probe = probe_features()
    parameters = {
        "objective": "binary",
        "learning_rate": options.learning_rate,
        "num_leaves": options.num_leaves,
        "min_data_in_leaf": options.min_data_in_leaf,
        "seed": options.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    dataset = lightgbm.Dataset(
        feature_matrix(texts, list(probe)),
        label=labels,
        weight=class_weights(labels)[labels],
        feature_name=list(probe),
        params=parameters,
    )
    booster = lightgbm.train(parameters, dataset, options.num_iterations)
    booster.save_model(folder / FILE)
    return {"features": probe}


def feature_matrix(texts: Sequence[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the features of texts: [texts, features]."""
    from data_prep.text.features import features

    matrix = np.empty((len(texts), len(names)), np.float64)
    for row, text in enumerate(texts):
        found = features(text)
        matrix[row] = [found[name] for name in names]
    return matrix


def probe_features() -> dict[str, str]:
    """Every feature of a certain text, to six digits, in the order that the features have."""
    from data_prep.text.features import features

    return {name: f"{value:.6g}" for name, value in features(_PROBE).items()}


def _lightgbm() -> Any:
    """The library, when what the features are computed with is there too."""
    try:
        import datatrove  # noqa: F401
        import lightgbm
    except ImportError as error:
        raise UserError(f"gbm: {error.name} is not installed; pip install 'danube-pretrain[data]'") from None
    return lightgbm
