"""A text that several sources hold is in one stage and one split, and nothing is lost for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from megatron.core.datasets.indexed_dataset import IndexedDataset

from custom_modules.config.schema import Config
from custom_modules.data.manifest import load_manifest
from custom_modules.tokenizer import load_tokenizer
from data_prep.prepare import run
from data_prep.tokenize import shared_texts

MakeConfig = Callable[..., Config]
Texts = Callable[..., list[str]]
Write = Callable[[Path, list[str]], Path]
Place = tuple[str, str, str]

SOURCES = ("web", "books", "code")


def mixes(draw: random.Random) -> list[str]:
    """Two stages that draw from two or three of the sources, each source from at least one."""
    stages: dict[str, dict[str, float]] = {}
    for stage, left_out in (("stage1", draw.choice([None, "books", "code"])), ("stage2", draw.choice([None, "web"]))):
        shares = {source: draw.randint(1, 9) for source in SOURCES if source != left_out}
        stages[stage] = {source: share / sum(shares.values()) for source, share in shares.items()}
    return [f"++curriculum.stages.{stage}.mix={mix}".replace("'", "") for stage, mix in stages.items()]


def documents(data: Path) -> dict[str, list[Place]]:
    """The stage, source and split of every document of a folder, by its text, through megatron-core's own reader."""
    tokenizer = load_tokenizer("sentencepiece", data / "tokenizer")
    found: dict[str, list[Place]] = {}
    for index in sorted(data.glob("stage*/*.idx")):
        source, _, split = index.stem.partition("_")
        dataset = IndexedDataset(str(index.with_suffix("")))
        for number in range(len(dataset)):
            text = tokenizer.decode(np.array(dataset[number][:-1]).tolist())
            found.setdefault(text, []).append((index.parent.name, source, split))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_text_has_one_stage_and_split_in_all_sources(
    seed: int,
    tmp_path: Path,
    make_config: MakeConfig,
    make_texts: Texts,
    write_jsonl: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw = random.Random(seed)
    every = list(dict.fromkeys(make_texts(240, seed=seed)))
    held = {source: draw.choices(every, k=120) for source in SOURCES}
    files = {source: write_jsonl(tmp_path / f"{source}.jsonl", texts) for source, texts in held.items()}
    sources = [f"data.sources.{source}={path}" for source, path in files.items()]
    options = ["data.input=null", *sources, *mixes(draw), f"model.seed={seed}"]
    run(make_config([], *options))
    data, config = tmp_path / "data", make_config([], *options)
    found = documents(data)

    assert all(len({(stage, split) for stage, _, split in places}) == 1 for places in found.values())
    assert {text: len(places) for text, places in found.items()} == Counter(
        text for texts in held.values() for text in texts
    )
    moved = 0
    for text, places in found.items():
        holders = Counter(source for source in SOURCES for other in held[source] if other == text)
        first = next(source for source in SOURCES if source in holders)
        stage = places[0][0]
        wanted = config.curriculum.stages[stage].mix or {}
        assert first in wanted, "the stage is one that the first source's texts go to"
        expected = Counter({source: number for source, number in holders.items() if source in wanted})
        expected[first] += sum(number for source, number in holders.items() if source not in wanted)
        assert Counter(source for _, source, _ in places) == expected
        moved += len(holders) > 1
    assert load_manifest(config).shared_texts == moved > 20
    assert f"{moved:,} texts are in several sources" in (data / "data_card.md").read_text()
    said = capsys.readouterr().err
    assert "texts that several sources hold make" in said

    monkeypatch.setattr(shared_texts, "partitions_for", lambda records: 7)
    other = make_config([], *options, "data.shard_bytes=3000", "data.workers=2", directory=tmp_path / "other")
    run(other)
    for path in data.glob("stage*/*"):
        assert path.read_bytes() == (tmp_path / "other" / path.relative_to(data)).read_bytes(), path.name


@pytest.mark.slow
def test_two_sources_of_the_same_texts(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write
) -> None:
    """Each is in both datasets of its stage and split, though the stages want the sources in other shares."""
    texts = make_texts(150, seed=9)
    one = write_jsonl(tmp_path / "one.jsonl", texts)
    two = write_jsonl(tmp_path / "two.jsonl", texts[::-1])
    run(
        make_config(
            [],
            "data.input=null",
            f"data.sources.web={one}",
            f"data.sources.books={two}",
            "++curriculum.stages.stage1.mix={web: 0.9, books: 0.1}",
            "++curriculum.stages.stage2.mix={web: 0.1, books: 0.9}",
        )
    )
    found = documents(tmp_path / "data")
    assert len(found) == len(set(texts))
    for places in found.values():
        assert {source for _, source, _ in places} == {"web", "books"}
        assert len({(stage, split) for stage, _, split in places}) == 1
