"""Quality models in `danube prepare`: the best fraction of the corpus is kept, and every kept document's scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from custom_modules.config.schema import Config
from custom_modules.data.check import check_data
from custom_modules.data.inspect import inspect
from custom_modules.data.manifest import read_manifest
from custom_modules.errors import UserError
from custom_modules.tokenizer import load_tokenizer
from data_prep.across.quantile import find_cut
from data_prep.prepare import run
from data_prep.quality.folder import load_quality_model
from data_prep.steps.filter_shard import read_lines
from data_prep.steps.quality import GbmQuality
from tests.support.quality import Corpus, Trained

MakeConfig = Callable[..., Config]
ReadBytes = Callable[[Path], dict[str, bytes]]
TRAIN = "stage1/text_train"


@pytest.fixture(scope="session")
def texts(corpus: Corpus) -> list[str]:
    """Good and bad ones, each once."""
    mixed = [text for pair in zip(corpus.good[:200], corpus.raw[:200], strict=True) for text in pair]
    assert len(set(mixed)) == len(mixed)
    return mixed


@pytest.fixture
def text_file(texts: list[str], tmp_path: Path, write_jsonl: Callable[..., Path]) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", texts)


@pytest.fixture
def small_units(make_config: MakeConfig) -> MakeConfig:
    return lambda *arguments, **keywords: make_config(*arguments, "data.shard_bytes=40_000", **keywords)


def scores_of(model: Trained, texts: list[str]) -> NDArray[np.float32]:
    return load_quality_model(model.folder).score(texts)


def removed(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in sorted((directory / "removed").iterdir()) for line in read_lines(path)]


def kept(directory: Path) -> list[tuple[str, dict[str, float]]]:
    """Every document of every dataset, decoded, with its scores."""
    tokenizer = load_tokenizer("sentencepiece", directory / "tokenizer")
    found = []
    for index in sorted(directory.glob("*/*.idx")):
        rows = parquet.read_table(index.with_suffix(".scores.parquet")).to_pylist()
        ids = np.fromfile(index.with_suffix(".bin"), "<u2")
        documents = np.split(ids, np.flatnonzero(ids == tokenizer.eos_id) + 1)[:-1]
        texts = [tokenizer.decode(document[:-1].tolist()) for document in documents]
        found += list(zip(texts, rows, strict=True))
    return found


def best(scores: NDArray[np.float32], fraction: float) -> NDArray[np.bool_]:
    """Mark the scores that are as high as the last of the best, sorted one by one."""
    return scores >= sorted(scores.tolist(), reverse=True)[math.ceil(fraction * len(scores)) - 1]


@pytest.mark.slow
def test_the_best_of_the_corpus_are_kept_whatever_the_workers_and_units(
    text_file: Path,
    texts: list[str],
    gbm: Trained,
    make_config: MakeConfig,
    small_units: MakeConfig,
    dataset_bytes: ReadBytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = f"data.steps.gbm_quality={{model: {gbm.folder}, keep_quantile: 0.3}}"
    scores = scores_of(gbm, texts)
    wanted = best(scores, 0.3)
    run(make_config(text_file, step, directory=tmp_path / "whole"))
    for workers in (1, 2):
        run(small_units(text_file, step, f"data.workers={workers}", directory=tmp_path / str(workers)))
        assert dataset_bytes(tmp_path / str(workers)) == dataset_bytes(tmp_path / "whole")
    assert len(list((tmp_path / "1" / "removed").iterdir())) > 3
    for file in (tmp_path / "1" / "removed").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / "removed" / file.name).read_bytes()

    left, gone = kept(tmp_path / "2"), removed(tmp_path / "2")
    assert sorted(text for text, _ in left) == sorted(np.array(texts, object)[wanted])
    assert sorted(document["text"] for document in gone) == sorted(np.array(texts, object)[~wanted])
    assert 120 <= len(left) == 400 - len(gone)
    by_text = dict(zip(texts, scores.tolist(), strict=True))
    assert all(row == {"gbm_quality": by_text[text]} for text, row in left)
    assert all(document["scores"] == {"gbm_quality": by_text[document["text"]]} for document in gone)
    lowest = min(row["gbm_quality"] for _, row in left)
    assert lowest > max(document["scores"]["gbm_quality"] for document in gone)

    reason = f"score below {np.float32(lowest)!s}, the cut for the best 30%"
    assert {(document["step"], document["reason"]) for document in gone} == {("gbm_quality", reason)}
    described = read_manifest(tmp_path / "2")
    assert described is not None and described.removed == {"gbm_quality": {reason: len(gone)}}
    assert f"the best 30% of 400 documents score {np.float32(lowest)!s} or more; {len(gone)} dropped" in (
        capsys.readouterr().err
    )
    card = (tmp_path / "2" / "data_card.md").read_text()
    middle = np.percentile(scores[wanted], 50)
    assert "## Quality scores of what was kept" in card and f"| {middle:.4f} |" in card


@pytest.mark.slow
def test_a_second_quantile_is_of_what_the_first_has_left(
    text_file: Path, texts: list[str], gbm: Trained, encoder: Trained, small_units: MakeConfig, tmp_path: Path
) -> None:
    """What a later step removes has been there for both."""
    by_gbm = scores_of(gbm, texts)
    first = np.array(texts, object)[best(by_gbm, 0.6)].tolist()
    question = next(text for text in first if len(text.split()) > 40)
    benchmark = tmp_path / "benchmark.jsonl"
    benchmark.write_text(json.dumps({"question": question}))
    config = small_units(
        text_file,
        f"data.steps.gbm_quality={{model: {gbm.folder}, keep_quantile: 0.6}}",
        f"data.steps.encoder_quality={{model: {encoder.folder}, keep_quantile: 0.5}}",
        f"data.steps.decontaminate.files=[{benchmark}]",
        "data.workers=2",
    )
    run(config)
    gone = removed(tmp_path / "data")
    by_step = {
        step: {document["text"] for document in gone if document["step"] == step}
        for step in ("gbm_quality", "encoder_quality", "decontaminate")
    }
    assert by_step["gbm_quality"] == set(texts) - set(first)
    left = kept(tmp_path / "data")
    assert {text for text, _ in left}.isdisjoint(by_step["decontaminate"])
    assert len(left) + len(gone) == len(texts)
    reached = [(text, row) for text, row in left] + [
        (document["text"], document["scores"]) for document in gone if document["step"] != "gbm_quality"
    ]
    assert {text for text, _ in reached} == set(first)
    expected = scores_of(encoder, [text for text, _ in reached])
    assert [row["encoder_quality"] for _, row in reached] == pytest.approx(expected.tolist(), abs=1e-5)
    by_text = dict(zip(texts, by_gbm.tolist(), strict=True))
    assert all(row["gbm_quality"] == by_text[text] for text, row in reached)
    second = best(np.array([row["encoder_quality"] for _, row in reached], np.float32), 0.5)
    assert {text for (text, _), keep in zip(reached, second, strict=True) if not keep} == by_step["encoder_quality"]
    assert len(left) == second.sum() - len(by_step["decontaminate"]) < 0.6 * len(first)


@pytest.mark.slow
def test_what_was_cut_is_no_original(
    texts: list[str], gbm: Trained, small_units: MakeConfig, write_jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    """Texts come behind their copies in capitals, which score lower."""
    good = [text for text in texts[::2] if scores_of(gbm, [text.upper()])[0] < scores_of(gbm, [text])[0]]
    assert len(good) > 50
    every = [text.upper() for text in good] + good
    wanted = best(scores_of(gbm, every), 0.5)
    step = f"data.steps.gbm_quality={{model: {gbm.folder}, keep_quantile: 0.5}}"
    run(small_units(write_jsonl(tmp_path / "copies.jsonl", every), step, "data.steps.exact={}"))
    expected = {text.upper() for text, keep in zip(every, wanted, strict=True) if keep}
    assert sorted(text.upper() for text, _ in kept(tmp_path / "data")) == sorted(expected)


@pytest.mark.slow
def test_every_source_has_its_scores_and_one_cut(
    corpus: Corpus, gbm: Trained, make_config: MakeConfig, write_jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    """A source of bad texts gives next to nothing."""
    sources = {"books": corpus.good[:150], "web": corpus.raw[:100] + corpus.good[150:200]}
    files = {name: write_jsonl(tmp_path / f"{name}.jsonl", texts) for name, texts in sources.items()}
    given = ", ".join(f"{name}: {file}" for name, file in files.items())
    step = f"data.steps.gbm_quality={{model: {gbm.folder}, keep_quantile: 0.5}}"
    run(make_config([], "data.input=null", f"data.sources={{{given}}}", step))
    scores = {name: scores_of(gbm, texts) for name, texts in sources.items()}
    wanted = best(np.concatenate(list(scores.values())), 0.5)
    rows = {
        name: np.concatenate(
            [
                parquet.read_table(file)["gbm_quality"].to_numpy()
                for file in (tmp_path / "data").glob(f"*/{name}_*.parquet")
            ]
        )
        for name in sources
    }
    assert np.array_equal(np.sort(rows["books"]), np.sort(scores["books"][wanted[:150]]))
    assert np.array_equal(np.sort(rows["web"]), np.sort(scores["web"][wanted[150:]]))


@pytest.mark.slow
def test_scores_are_of_the_dataset_until_the_step_is_off(
    text_file: Path, gbm: Trained, make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(text_file, f"data.steps.gbm_quality.model={gbm.folder}")
    data = tmp_path / "data"
    run(config)
    assert removed(data) == []
    files = sorted(data.rglob("*.scores.parquet"))
    assert len(files) == 4 and list(check_data(data)) == []
    files[0].unlink()
    capsys.readouterr()
    run(config)
    assert "is up to date" not in capsys.readouterr().err and sorted(data.rglob("*.scores.parquet")) == files
    run(config)
    assert "is up to date" in capsys.readouterr().err
    run(make_config(text_file))
    assert not list(data.rglob("*.scores.parquet")) and list(check_data(data)) == []


@pytest.mark.slow
def test_faults_of_scores_are_found_and_their_values_shown(
    text_file: Path, gbm: Trained, make_config: MakeConfig, tmp_path: Path
) -> None:
    run(make_config(text_file, f"data.steps.gbm_quality.model={gbm.folder}"))
    data = tmp_path / "data"
    path = data / f"{TRAIN}.scores.parquet"
    whole = path.read_bytes()
    scores = parquet.read_table(path)["gbm_quality"].to_pylist()
    _, *shown = inspect(data / TRAIN, document=3, count=2)
    assert [document.splitlines()[1].split(", ")[1] for document in shown] == [
        f"gbm_quality {score:.4f}" for score in scores[3:5]
    ]
    path.write_bytes(whole[:-5])
    assert any("bytes, but the manifest says" in str(problem) for problem in check_data(data, quick=True))
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert [problem.file for problem in check_data(data)] == [path]
    fewer = parquet.read_table(path.with_name("text_validation.scores.parquet"))
    parquet.write_table(fewer, path)
    described = json.loads((data / "manifest.json").read_text())
    described["stages"]["stage1"]["train"][0]["bytes"]["scores.parquet"] = path.stat().st_size
    (data / "manifest.json").write_text(json.dumps(described))
    (problem,) = check_data(data, quick=True)
    assert f"scores of {len(fewer)} documents, but the dataset has {len(scores)}; " in str(problem)
    with pytest.raises(UserError, match=f"scores of {len(fewer)} documents, but"):
        inspect(data / TRAIN)
    path.write_bytes(b"PAR1" * 10)
    with pytest.raises(UserError, match=r"text_train\.scores\.parquet: cannot be read"):
        inspect(data / TRAIN)
    path.unlink()
    (problem,) = check_data(data, quick=True)
    assert str(problem).startswith(f"{path}: missing; ")


def test_a_corpus_of_equal_scores_is_kept_and_one_of_none_is_said(gbm: Trained, tmp_path: Path) -> None:
    step = GbmQuality(gbm.folder, keep_quantile=0.1)
    np.full(7, 0.25, "<f4").tofile(tmp_path / "same")
    np.full(3, 0.125, "<f4").tofile(tmp_path / "lower")
    (tmp_path / "empty").touch()
    (cut,) = find_cut(step, [tmp_path / "same", tmp_path / "empty", tmp_path / "lower"])
    assert cut.options == {"threshold": 0.25, "keep_quantile": 0.1}
    assert find_cut(step, [tmp_path / "empty"]) == ()
    np.full(1, np.nan, "<f4").tofile(tmp_path / "broken")
    with pytest.raises(UserError, match=r"data\.steps\.gbm_quality\.model: gives scores that are no numbers"):
        find_cut(step, [tmp_path / "same", tmp_path / "broken"])
