from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_modules.errors import UserError
from data_prep.across.quantile import threshold_for
from data_prep.clean.build import build_steps
from data_prep.input.documents import Document, Removal, Step, apply_steps
from data_prep.quality.folder import load_quality_model
from data_prep.steps.quality import EncoderQuality, GbmQuality
from tests.support.quality import Corpus, Trained


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    st.integers(1, 100).map(lambda percent: percent / 100),
)
def test_a_threshold_keeps_the_fraction_and_no_larger_one_does(scores: list[float], fraction: float) -> None:
    array = np.array(scores, np.float32)
    threshold = threshold_for([array], len(array), fraction)
    wanted = -(-round(fraction * 100) * len(scores) // 100)
    assert (array >= threshold).sum() >= wanted
    assert (array > threshold).sum() < wanted


def test_a_threshold_takes_the_fraction_as_it_is_written() -> None:
    scores = np.arange(30, dtype=np.float32) / np.float32(30)
    assert (scores >= threshold_for([scores], len(scores), 0.1)).sum() == 3  # 0.1 * 30 is 3.0000000000000004
    assert threshold_for([scores[::-1]], len(scores), 0.1) == threshold_for([scores], len(scores), 0.1)
    assert threshold_for([scores], len(scores), 1.0) == 0


def test_the_score_is_kept_and_a_low_one_removes(corpus: Corpus, gbm: Trained) -> None:
    step: Step = GbmQuality(gbm.folder, threshold=0.5)
    [kept] = apply_steps([Document(corpus.good[0], 7, "https://example.org", {"other": 0.25})], [step])
    assert isinstance(kept, Document)
    assert kept.scores == {"other": 0.25, "gbm_quality": kept.scores["gbm_quality"]}
    assert (kept.text, kept.line, kept.url) == (corpus.good[0], 7, "https://example.org")
    score = float(load_quality_model(gbm.folder).score([corpus.raw[1]])[0])
    [removed] = apply_steps([Document(corpus.raw[1], 1, scores={"other": 0.25})], [step])
    assert removed == Removal("gbm_quality", "low score", f"{score:.4f}", {"other": 0.25, "gbm_quality": score})


def test_without_a_threshold_nothing_is_removed_and_at_it_neither(corpus: Corpus, gbm: Trained) -> None:
    document = Document(corpus.raw[0], 1)
    scored = GbmQuality(gbm.folder)(document)
    assert isinstance(scored, Document)
    assert GbmQuality(gbm.folder, threshold=scored.scores["gbm_quality"])(document) == scored


def test_batches_judge_as_single_documents_do(corpus: Corpus, encoder: Trained) -> None:
    step = EncoderQuality(encoder.folder, threshold=0.5)
    documents = [Document(text, 1) for text in (*corpus.good[:10], *corpus.raw[:10])]
    for together, alone in zip(step.apply_batch(documents), map(step, documents), strict=True):
        assert type(together) is type(alone)
        if isinstance(together, Document) and isinstance(alone, Document):
            assert together.scores["encoder_quality"] == pytest.approx(alone.scores["encoder_quality"], abs=1e-5)


@pytest.mark.slow
def test_steps_are_small_and_work_in_other_processes(corpus: Corpus, gbm: Trained) -> None:
    step = GbmQuality(gbm.folder, threshold=0.5)
    step(Document(corpus.good[0], 1))
    assert len(pickle.dumps(step)) < 1_000
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(step, Document(corpus.good[0], 1)).result() == step(Document(corpus.good[0], 1))


def test_options_name_the_models_content_and_not_its_place(gbm: Trained, encoder: Trained, tmp_path: Path) -> None:
    shutil.copytree(gbm.folder, tmp_path / "copy")
    assert GbmQuality(tmp_path / "copy", 0.5).options == GbmQuality(gbm.folder, 0.5).options
    assert GbmQuality(gbm.folder).options["model"] != EncoderQuality(encoder.folder).options["model"]
    assert GbmQuality(gbm.folder, 0.5).options != GbmQuality(gbm.folder, 0.6).options
    assert GbmQuality(gbm.folder, 0.5).options != GbmQuality(gbm.folder, keep_quantile=0.5).options


def test_a_model_that_changes_under_way_is_refused(
    corpus: Corpus, gbm: Trained, encoder: Trained, tmp_path: Path
) -> None:
    shutil.copytree(gbm.folder, tmp_path / "model")
    step = GbmQuality(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(encoder.folder, tmp_path / "model")
    with pytest.raises(UserError, match="model: the model has changed meanwhile; start again"):
        step(Document(corpus.good[0], 1))


def test_a_folder_with_a_file_that_is_cut_short_is_refused_before_any_work(gbm: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(gbm.folder, folder)
    content = (folder / "model.txt").read_bytes()
    (folder / "model.txt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"^data.steps.gbm_quality.model=.*model\.txt: not the file that quality\.json"):
        build_steps({"gbm_quality": {"model": str(folder)}})


def test_wrong_options_are_one_line(gbm: Trained, tmp_path: Path) -> None:
    for options, says in (
        ({"threshold": 1.5}, "data.steps.gbm_quality.threshold=1.5: must be float from 0 to 1 or null"),
        ({"threshold": "high"}, "data.steps.gbm_quality.threshold=high: must be float from 0 to 1 or null"),
        (
            {"threshold": 0.5, "keep_quantile": 0.5},
            "data.steps.gbm_quality.keep_quantile=0.5: threshold=0.5 is set too",
        ),
        ({"keep_quantile": 0}, "data.steps.gbm_quality.keep_quantile=0: must be float above 0 to 1 or null"),
    ):
        with pytest.raises(UserError, match=says):
            build_steps({"gbm_quality": {"model": str(gbm.folder), **options}})
    with pytest.raises(UserError, match=r"data.steps.gbm_quality.model=nowhere: no quality model; give a folder"):
        GbmQuality("nowhere")
    with pytest.raises(UserError, match=r"encoder_quality.model=.*: of kind gbm; use data.steps.gbm_quality"):
        EncoderQuality(gbm.folder)
