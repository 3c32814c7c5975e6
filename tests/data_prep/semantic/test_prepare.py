"""Both steps in `danube prepare`, after exact copies are gone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from custom_modules.data.manifest import read_manifest
from custom_modules.errors import UserError
from data_prep.prepare import run
from data_prep.semantic.encoder import SentenceEncoder
from data_prep.steps.filter_shard import read_lines
from tests.support.semantic import WORDS

ORIGINALS, COPIES = 150, 20


@pytest.fixture
def texts() -> list[str]:
    """Originals of few different words each, and copies of some with two words changed."""
    source = random.Random(5)
    originals = [" ".join(source.choices(source.sample(WORDS, 3), k=40)) for _ in range(ORIGINALS)]
    copies = []
    for text in originals[:COPIES]:
        words = text.split()
        words[3], words[30] = words[30], words[3]
        copies.append(" ".join([*words, words[0]]))
    return originals + copies


def threshold_between(encoder: Path, texts: list[str]) -> float:
    """A cosine below that of every copy with its original, and above that of all others."""
    vectors = SentenceEncoder(encoder).embed(texts)
    cosines = vectors @ vectors.T
    copies = cosines[np.arange(COPIES), ORIGINALS + np.arange(COPIES)]
    others = cosines[:ORIGINALS, :ORIGINALS][~np.eye(ORIGINALS, dtype=bool)]
    assert copies.min() > others.max()
    return float((copies.min() + others.max()) / 2)


@pytest.mark.parametrize("shard_bytes", [8_000, 1_000_000])
@pytest.mark.slow
def test_copies_in_meaning_and_typical_documents_go(
    shard_bytes: int,
    texts: list[str],
    encoder_folder: Path,
    make_config: Callable[..., Any],
    write_jsonl: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*texts, texts[0].upper()])
    same = f"encoder: {encoder_folder}, clusters: 1"
    steps = [
        "data.steps.exact={}",
        f"data.steps.semdedup={{{same}, max_cosine: {threshold_between(encoder_folder, texts)}}}",
        f"data.steps.prototypes={{{same}, drop_fraction: 0.1}}",
    ]
    config = make_config(path, *steps, f"data.shard_bytes={shard_bytes}")
    run(config)
    described = read_manifest(Path(config.data.dir))
    assert described is not None
    counted = {step: sum(reasons.values()) for step, reasons in described.removed.items()}
    assert counted == {"exact": 1, "semdedup": COPIES, "prototypes": ORIGINALS // 10}
    removed = [
        orjson.loads(line) for file in (Path(config.data.dir) / "removed").iterdir() for line in read_lines(file)
    ]
    pairs = {text: number % ORIGINALS for number, text in enumerate(texts)}
    dropped = sorted(pairs[document["text"]] for document in removed if document["step"] == "semdedup")
    assert dropped == list(range(COPIES))


def test_a_folder_that_is_no_encoder(
    make_config: Callable[..., Any], write_jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ["one two three"])
    with pytest.raises(UserError, match=r"data.steps.semdedup.encoder=nowhere: no such folder"):
        run(make_config(path, "data.steps.semdedup.encoder=nowhere"))
    with pytest.raises(UserError, match=r"data.steps.prototypes.encoder: not set"):
        run(make_config(path, "data.steps.prototypes={}"))
