"""English prose of this Python against word salad, symbols and menus, and a small model of each kind trained on it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_prep.quality.train import train_quality
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.quality import (
    COUNT,
    TINY_ENCODER,
    TINY_GBM,
    Corpus,
    Trained,
    menu,
    one_thread,
    prose,
    symbols,
    word_salad,
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, write_jsonl: Callable[[Path, list[str]], Path]) -> Corpus:
    folder = tmp_path_factory.mktemp("quality")
    good = prose()
    words = sorted({word.strip(".,:;()") for text in good for word in text.split()})
    source = random.Random(3)
    raw = [(word_salad, symbols, menu)[number % 3](source, words) for number in range(COUNT)]
    files = write_jsonl(folder / "good.jsonl", good), write_jsonl(folder / "raw.jsonl", raw)
    return Corpus(good, raw, *files)


@pytest.fixture(scope="session")
def small_tokenizer(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``tokenizer.model`` of 1,000 pieces."""
    path = tmp_path_factory.mktemp("quality_tokenizer") / "tokenizer.model"
    path.write_bytes(train_tokenizer(corpus.good, 1_000))
    return path


@pytest.fixture(scope="session")
def gbm(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("gbm") / "model"
    return Trained(folder, train_quality("gbm", folder, [corpus.good_file], [corpus.raw_file], options=TINY_GBM))


@pytest.fixture(scope="session")
def encoder_options(small_tokenizer: Path) -> dict[str, object]:
    return {**TINY_ENCODER, "tokenizer": str(small_tokenizer)}


@pytest.fixture(scope="session")
def encoder(corpus: Corpus, encoder_options: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A new BERT of two small layers."""
    folder = tmp_path_factory.mktemp("encoder") / "model"
    files = [corpus.good_file], [corpus.raw_file]
    with one_thread():
        return Trained(folder, train_quality("encoder", folder, *files, options=encoder_options))
