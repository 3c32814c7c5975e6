from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from custom_modules.errors import UserError
from data_prep.quality.folder import load_quality_model
from data_prep.quality.train import train_quality
from tests.support.quality import TINY_GBM, Corpus, Trained


def test_the_report_says_what_it_was_measured_on(corpus: Corpus, gbm: Trained) -> None:
    report = gbm.report
    assert report.read == {"raw": len(corpus.raw), "good": len(corpus.good)} and report.rejected == 0
    chosen = report.chosen
    assert chosen.good_kept + chosen.good_removed == report.held_out["good"]
    assert chosen.raw_kept + chosen.raw_removed == report.held_out["raw"]
    assert sum(row.examples for row in report.calibration) == sum(report.held_out.values())
    text = report.as_text()
    total = sum(report.train.values())
    assert f"trained on   {total:,} examples, {report.train['good'] / total:.1%} of them good" in text
    assert f"ROC AUC      {report.roc_auc:.4f}" in text and text.count("<- chosen") == 1
    assert all(len(line) < 100 for line in text.splitlines())
    assert orjson.loads(report.as_json()) == orjson.loads(orjson.dumps(report.as_dict()))
    assert orjson.loads((gbm.folder / "quality.json").read_bytes())["report"] == orjson.loads(report.as_json())


def test_the_chosen_threshold_is_a_row_of_its_own(corpus: Corpus, tmp_path: Path) -> None:
    options = {**TINY_GBM, "num_iterations": "5", "threshold": "0.55"}
    report = train_quality("gbm", tmp_path / "m", [corpus.good_file], [corpus.raw_file], options=options)
    assert report.chosen.threshold == 0.55 and report.chosen in report.thresholds
    assert [row.threshold for row in report.thresholds] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9]


def test_labelled_texts_train_too(corpus: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "labelled.jsonl"
    pairs = [*((text, 1) for text in corpus.good), *((text, 0) for text in corpus.raw)]
    file.write_bytes(b"".join(orjson.dumps({"text": text, "label": label}) + b"\n" for text, label in pairs))
    report = train_quality("gbm", tmp_path / "model", labelled=[file], options=TINY_GBM)
    assert report.roc_auc > 0.95
    assert load_quality_model(tmp_path / "model").score(corpus.good[:1]) > 0.5


def test_a_folder_that_is_there_is_left_alone(corpus: Corpus, gbm: Trained) -> None:
    before = sorted(gbm.folder.iterdir())
    with pytest.raises(UserError, match="already there"):
        train_quality("gbm", gbm.folder, [corpus.good_file], [corpus.raw_file])
    assert sorted(gbm.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("forest", {}, "forest: no such kind of quality model; use gbm or encoder"),
        (
            "gbm",
            {"epochs": 3},
            "epochs=3: no such option of a quality model of kind gbm; it has text_key, .*num_leaves",
        ),
        ("gbm", {"num_leaves": "many"}, "num_leaves=many: input should be a valid integer"),
        ("gbm", {"num_leaves": 1}, "num_leaves=1: input should be greater than 1"),
        ("gbm", {"held_out_fraction": 1}, "held_out_fraction=1: input should be less than 1"),
        ("gbm", {"threshold": "nan"}, "threshold=nan: "),
        ("encoder", {}, "encoder: nothing to begin with: give base=FOLDER, or tokenizer=FILE for a new model"),
        ("encoder", {"base": "b", "hidden_size": 64}, "encoder: hidden_size is the base's own; leave out hidden_size"),
        ("encoder", {"tokenizer": "t", "hidden_size": 10}, "hidden_size=10 is no multiple of num_attention_heads=4"),
    ],
)
def test_wrong_options_are_one_line(
    corpus: Corpus, tmp_path: Path, kind: str, options: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        train_quality(kind, tmp_path / "m", [corpus.good_file], [corpus.raw_file], options=options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_behind_of_a_failure(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give more raw text, at least min_examples=5000"):
        train_quality("gbm", tmp_path / "m", [corpus.good_file], [corpus.raw_file], options={"min_examples": 5_000})
    assert not list(tmp_path.iterdir())
