from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from custom_modules.errors import UserError
from data_prep.quality.folder import load_quality_model, read_description
from data_prep.quality.train import train_quality
from data_prep.text import features as feature_module
from tests.support.quality import TINY_GBM, Corpus, Trained


def test_it_tells_prose_from_noise(gbm: Trained) -> None:
    assert gbm.report.roc_auc > 0.95
    assert gbm.report.chosen.precision > 0.9 and gbm.report.chosen.recall > 0.9


def test_the_same_examples_give_the_same_bytes(corpus: Corpus, gbm: Trained, tmp_path: Path) -> None:
    train_quality("gbm", tmp_path / "again", [corpus.good_file], [corpus.raw_file], options=TINY_GBM)
    for file in sorted(gbm.folder.iterdir()):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_scores_are_the_same_in_batches_and_one_by_one(corpus: Corpus, gbm: Trained) -> None:
    model = load_quality_model(gbm.folder)
    texts = [*corpus.good[:20], *corpus.raw[:20], "", "a", "\x00" * 50]
    scores = model.score(texts)
    assert scores.dtype == np.float32 and scores.shape == (43,) and scores.min() >= 0 and scores.max() <= 1
    assert np.array_equal(scores, np.concatenate([model.score([text]) for text in texts]))
    assert model.score([]).shape == (0,)


def test_what_the_folder_says(gbm: Trained) -> None:
    description = read_description(gbm.folder)
    assert list(description.scoring["features"]) == list(feature_module.features("A text."))
    assert description.files.keys() == {"model.txt"}
    assert description.options["num_iterations"] == 40
    assert description.report["roc_auc"] == gbm.report.roc_auc


def test_features_computed_otherwise_are_refused(gbm: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    before = feature_module.features
    monkeypatch.setattr(feature_module, "features", lambda text: {k: v + 1 for k, v in before(text).items()})
    with pytest.raises(UserError, match="trained when the features were computed otherwise; train it again"):
        load_quality_model(gbm.folder)


def test_a_damaged_folder_is_refused(gbm: Trained, tmp_path: Path) -> None:
    shutil.copytree(gbm.folder, tmp_path / "model")
    with (tmp_path / "model" / "model.txt").open("a") as file:
        file.write("more")
    with pytest.raises(UserError, match=r"model\.txt: not the file that quality\.json describes"):
        load_quality_model(tmp_path / "model")
    (tmp_path / "model" / "quality.json").write_text("{}")
    with pytest.raises(UserError, match="model: no quality model; give a folder"):
        load_quality_model(tmp_path / "model")
    with pytest.raises(UserError, match="nowhere: no quality model"):
        load_quality_model(tmp_path / "nowhere")
