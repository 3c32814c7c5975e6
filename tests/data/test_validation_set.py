from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.data.manifest import load_manifest
from custom_modules.data.validation_limits import check_limit, source_limits, validation_problems
from custom_modules.data.validation_set import (
    ValidationSet,
    ValidationWindows,
    choose_validation,
    read_validation,
)
from custom_modules.errors import UserError
from data_prep.prepare import run
from tests.support.tiny import TINY

MIX = [
    "++curriculum.stages.stage1.mix={web: 0.75, books: 0.25}",
    "++curriculum.stages.stage2.mix={web: 0.5, books: 0.5}",
]


def config_of(prepared: Path, data: Path, texts: Mapping[str, Sequence[str]], *more: str) -> Config:
    """Write the texts, a file a source, and return a config for them."""
    data.parent.mkdir(parents=True, exist_ok=True)
    for source, of_source in texts.items():
        lines = (orjson.dumps({"text": text}, option=orjson.OPT_APPEND_NEWLINE) for text in of_source)
        data.with_name(f"{source}.jsonl").write_bytes(b"".join(lines))
    tokenizer = prepared.parent / "tokenizer.model"
    sources = [f"data.sources.{source}={data.with_name(source)}.jsonl" for source in texts]
    words = [*TINY, "data.input=null", *sources, f"data.dir={data}", f"model.tokenizer.model={tokenizer}"]
    words += ["data.workers=1", "data.validation_fraction=0.3", "data.train_tokenizer=false", *more]
    return load_config("danube_rehearsal", words)


@pytest.fixture(scope="module")
def texts(prepared: Path) -> dict[str, list[str]]:
    every = [json.loads(line)["text"] for line in (prepared.parent / "text.jsonl").read_text().splitlines()]
    return {"web": every[:200], "books": every[200:]}


def chosen(config: Config, cache: Path) -> ValidationSet:
    manifest = load_manifest(config)
    return read_validation(choose_validation(manifest, source_limits(config, manifest), cache))


def scored(windows: ValidationWindows) -> dict[str, list[int]]:
    """The labels that are scored, by source, in their order."""
    found: dict[str, list[int]] = {}
    size = len(windows) // len(windows.sources)
    for index in range(len(windows)):
        window, source = windows[index], windows.sources[index // size]
        labels = window["labels"][window["loss_mask"] == 1].tolist()
        assert source is not None or not labels
        if source is not None:
            found.setdefault(source, []).extend(labels)
    return found


@pytest.mark.slow
def test_every_length_and_batch_scores_the_same_text(
    prepared: Path, texts: dict[str, list[str]], tmp_path: Path
) -> None:
    config = config_of(prepared, tmp_path / "data", texts, *MIX, "trainer.limit_val_tokens=2000")
    run(config)
    documents = chosen(config, tmp_path / "cache")
    from custom_modules.tokenizer import load_tokenizer

    tokenizer = load_tokenizer("sentencepiece", tmp_path / "data/tokenizer")
    wanted = {name: stream[1:].tolist() for name, stream in documents.streams.items()}
    for seq_length, micro, together in ((16, 1, 1), (32, 2, 4), (64, 3, 2), (4096, 1, 8)):
        windows = ValidationWindows(documents, seq_length, micro, together)
        assert scored(windows) == wanted
        assert len(windows) == len(windows.sources) * micro
        assert len(windows.sources) % together == 0
        before = windows[1]
        assert torch.equal(before["tokens"][1:], before["labels"][:-1]), "a token is the one before its label"
    every = {text for of_source in texts.values() for text in of_source}
    for name, ids in wanted.items():
        ends = np.flatnonzero(np.array(ids) == tokenizer.eos_id).tolist()
        decoded = [tokenizer.decode(ids[a:b]) for a, b in zip([0, *(end + 1 for end in ends)], ends, strict=False)]
        assert set(decoded) <= every
        assert len(set(decoded)) == len(decoded)
        assert documents.text_bytes[name] == sum(len(text.encode()) for text in decoded)

    web, books = (len(wanted[name]) for name in ("web", "books"))
    share = (7000 * 0.75 + 3000 * 0.5) / 10_000
    assert 2000 * share - 100 < web <= 2000 * share
    assert 2000 * (1 - share) - 100 < books <= 2000 * (1 - share)


@pytest.mark.slow
def test_what_is_chosen_follows_from_the_content(prepared: Path, texts: dict[str, list[str]], tmp_path: Path) -> None:
    """The order of the input, and documents that the limit leaves no room for, change nothing."""
    config = config_of(prepared, tmp_path / "one/data", texts, *MIX, "trainer.limit_val_tokens=1000")
    turned = {name: of_source[::-1] for name, of_source in texts.items()}
    other = config_of(prepared, tmp_path / "two/data", turned, *MIX, "trainer.limit_val_tokens=1000")
    for each in (config, other):
        run(each)
    first, second = chosen(config, tmp_path / "a"), chosen(other, tmp_path / "b")
    assert {name: stream.tolist() for name, stream in first.streams.items()} == {
        name: stream.tolist() for name, stream in second.streams.items()
    }
    assert first.text_bytes == second.text_bytes
    wide = config.model_copy(update={"trainer": config.trainer.model_copy(update={"limit_val_tokens": 10**9})})
    everything = chosen(wide, tmp_path / "a")
    manifest = load_manifest(config)
    tokens = sum(part.tokens for stage in manifest.stages for part in manifest.parts(stage, "validation"))
    assert sum(everything.tokens.values()) == tokens
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) != sorted(
        path.name for path in (tmp_path / "b").iterdir()
    )


def test_a_limit_that_no_document_is_within(prepared: Path, tmp_path: Path) -> None:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}", "trainer.limit_val_tokens=3"])
    manifest = load_manifest(config)
    with pytest.raises(
        UserError, match=r"trainer\.limit_val_tokens=3: no validation document of .* is that short"
    ) as no:
        check_limit(config, manifest)
    assert validation_problems(config, manifest) == [str(no.value)]
    remedy = re.findall(r"set (trainer\.limit_val_tokens=\d+) or more", str(no.value))
    enough = load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}", *remedy])
    assert check_limit(enough, manifest) == []
    assert sum(chosen(enough, tmp_path).tokens.values()) == enough.trainer.limit_val_tokens


@pytest.mark.slow
def test_a_source_that_its_share_leaves_no_document(
    prepared: Path, texts: dict[str, list[str]], tmp_path: Path
) -> None:
    """The others are validated; with what is advised, it is too."""
    mix = [f"++curriculum.stages.stage{number}.mix={{web: 0.99, books: 0.01}}" for number in (1, 2)]
    config = config_of(prepared, tmp_path / "data", texts, *mix, "data.max_epochs=99", "trainer.limit_val_tokens=1000")
    manifest = run(config)
    (line,) = validation_problems(config, manifest)
    assert "books is not validated, as its share of 10 tokens holds none of its documents" in line
    assert chosen(config, tmp_path).tokens["books"] == 0
    (limit,) = re.findall(r"set trainer\.limit_val_tokens=(\d+) or more", line)
    enough = config.model_copy(update={"trainer": config.trainer.model_copy(update={"limit_val_tokens": int(limit)})})
    assert validation_problems(enough, manifest) == []
    assert chosen(enough, tmp_path).tokens["books"] > 0


def test_a_damaged_file_is_made_again(prepared: Path, tmp_path: Path) -> None:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}"])
    manifest = load_manifest(config)
    path = choose_validation(manifest, source_limits(config, manifest), tmp_path)
    before = {name: stream.tolist() for name, stream in read_validation(path).streams.items()}
    for damage in (path.read_bytes()[:100], b"", path.read_bytes()[:-30]):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=f"{path}: damaged; start again"):
            read_validation(path)
        assert choose_validation(manifest, source_limits(config, manifest), tmp_path) == path
        assert {name: stream.tolist() for name, stream in read_validation(path).streams.items()} == before
