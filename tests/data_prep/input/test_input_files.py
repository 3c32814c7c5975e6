"""Several sources: a dataset for each in every stage, stages that mix them as told, and a card that adds up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import SentencePieceProcessor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import load_manifest, part_weights, read_manifest
from custom_modules.errors import UserError
from data_prep.prepare import run

Overrides = Callable[..., list[str]]
MIX = "++curriculum.stages.stage2.mix={web: 0.9, books: 0.1}"


@pytest.fixture
def two_sources(
    tmp_path: Path, overrides: Overrides, make_texts: Callable[..., list[str]], write_jsonl: Callable[..., Path]
) -> list[str]:
    """Overrides: 400 documents from the web, 200 of books."""
    web = write_jsonl(tmp_path / "web.jsonl", make_texts(400, seed=1))
    books = write_jsonl(tmp_path / "books.jsonl", make_texts(200, seed=2))
    return [
        *overrides(web),
        "data.input=null",
        f"data.sources={{web: {web}, books: [{books}]}}",
        "data.max_epochs=1000",
    ]


def load(overrides: list[str], *more: str) -> Config:
    return load_config("danube_rehearsal", [*overrides, *more])


def test_a_dataset_for_each_source_of_a_stage(two_sources: list[str]) -> None:
    config = load(two_sources, MIX)
    prepared = run(config)
    for stage in ("stage1", "stage2"):
        parts = prepared.parts(stage, "train")
        assert [part.source for part in parts] == ["web", "books"]
        assert [part.prefix.name for part in parts] == ["web_train", "books_train"]
    documents = {
        source: sum(
            part.documents
            for splits in prepared.stages.values()
            for of in splits.values()
            for part in of
            if part.source == source
        )
        for source in ("web", "books")
    }
    assert documents == {"web": 400, "books": 200}
    assert [
        float(w) for w in part_weights(prepared.parts("stage2", "train"), {"web": 0.9, "books": 0.1})
    ] == pytest.approx([0.9, 0.1])


@pytest.mark.slow
def test_training_draws_by_the_mix(single_process: None, two_sources: list[str], tmp_path: Path) -> None:
    """The shares hold to within a sample over the stage, and over any stretch of it."""
    from custom_modules.data.dataset import training_dataset

    config = load(two_sources, MIX, "trainer.devices=1")
    prepared = run(config)
    stage = Curriculum.from_config(config).stage("stage2")
    dataset = training_dataset(config, prepared, stage, tmp_path / "cache")
    drawn = np.asarray(dataset.dataset_index[: stage.num_samples])  # type: ignore[attr-defined]
    assert drawn.size == stage.num_samples
    assert abs(np.mean(drawn == 0) - 0.9) < 0.001
    for begin in range(0, drawn.size - 100, 100):
        assert abs(np.mean(drawn[begin : begin + 100] == 0) - 0.9) <= 0.011


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.input=builtin"], "data.input=builtin: data.sources is given too"),
        (
            ["++curriculum.stages.stage1.mix={web: 0.5, books: 0.4}"],
            "stage1.mix={web: 0.5, books: 0.4}: adds up to 0.9; make that 1 (null takes a source out)",
        ),
        (
            ["++curriculum.stages.stage1.mix={web: 0.5, news: 0.5}"],
            "stage1.mix.news=0.5: no such source; give its text as data.sources.news=FOLDER, or mix those there",
        ),
        (["data.sources={b/c: x.jsonl}"], "data.sources.b/c: a source's name is also a file's"),
    ],
)
def test_contradictions(words: list[str], message: str, two_sources: list[str]) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load(two_sources, *words)


def test_a_source_that_no_stage_wants(two_sources: list[str]) -> None:
    only_web = [f"++curriculum.stages.{stage}.mix={{web: 1.0}}" for stage in ("stage1", "stage2")]
    with pytest.raises(UserError, match=r"data.sources.books: in no stage's mix; give it a share of one"):
        run(load(two_sources, *only_web))


def test_a_file_of_two_sources(two_sources: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.sources.all=.*: .*books.jsonl is in data.sources.books too; leave it out of one"
    ):
        run(load(two_sources, f"++data.sources.all={tmp_path}"))


@pytest.mark.slow
def test_the_card_adds_up(two_sources: list[str], tmp_path: Path) -> None:
    (tmp_path / "books.jsonl").open("ab").write(b'{"no": "text"}\n')
    config = load(two_sources, MIX, "data.steps.exact={}", "++curriculum.stages.stage2.reported_mix={web: 0.845}")
    copied = (tmp_path / "web.jsonl").read_bytes().splitlines(keepends=True)[0]
    (tmp_path / "web.jsonl").open("ab").write(copied)
    prepared = run(config)
    directory = Path(config.data.dir)
    described = read_manifest(directory)
    assert described is not None
    for source in described.sources:
        removed = sum(sum(reasons.values()) for reasons in source["removed"].values())
        assert source["read"] == source["documents"] + removed + source["skipped"]
    card = (directory / "data_card.md").read_text()
    reference = SentencePieceProcessor(model_file=str(directory / "tokenizer" / "tokenizer.model"))
    removed_tokens = len(reference.encode(json.loads(copied)["text"])) + 1
    datasets = [part for splits in prepared.stages.values() for parts in splits.values() for part in parts]
    tokens = {name: sum(part.tokens for part in datasets if part.source == name) for name in ("web", "books")}
    web, books = f"{tokens['web']:,} \\| {removed_tokens} \\|", f"{tokens['books']:,} \\| 0 \\|"
    assert re.search(rf"\| web \| 1 \| [\d.]+ \| 401 \| 400 \| 1 \| 0 \| {web}", card)
    assert re.search(rf"\| books \| 1 \| [\d.]+ \| 201 \| 200 \| 0 \| 1 \| {books}", card)
    assert f"| exact | a copy of another document | web | 1 | 0.25% | {removed_tokens} |" in card
    assert re.search(r"\| stage2 \| web \| train \|.*\| 90.0% \| 84.5% \|", card)
    page = (directory / "data_card.html").read_text()
    assert not re.search(r"(src|href)=", page)
    (directory / "data_card.html").unlink()
    before = (directory / "data_card.md").stat().st_mtime_ns
    run(config)
    assert (directory / "data_card.html").read_text() == page
    assert (directory / "data_card.md").stat().st_mtime_ns >= before
    assert load_manifest(config).parts("stage1", "validation")
