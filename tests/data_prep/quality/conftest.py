"""English prose of this Python against word salad, symbols and menus, and a small model of each kind trained on it."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from data_prep.builtin.docstrings import paragraphs
from data_prep.quality.evaluation import Evaluation
from data_prep.quality.train import train_quality
from data_prep.tokenize.train_tokenizer import train_tokenizer

COUNT = 600
MENU = ["Home", "About us", "Contact", "Log in", "Sign up", "Cart (0)", "Privacy policy", "Terms of use", "Next »"]
MENU += ["« Back", "Share on Facebook", "Tweet", "Read more...", "Subscribe", "© 2024", "All rights reserved", "Search"]
TINY_GBM = {"num_iterations": 40, "held_out_fraction": 0.25}
TINY_ENCODER = {
    "num_layers": 2,
    "hidden_size": 32,
    "ffn_hidden_size": 64,
    "num_attention_heads": 2,
    "max_length": 48,
    "epochs": 2,
    "lr": 5e-3,
    "held_out_fraction": 0.25,
}


@dataclass(frozen=True)
class Corpus:
    good: list[str]
    raw: list[str]
    good_file: Path
    raw_file: Path


@dataclass(frozen=True)
class Trained:
    folder: Path
    report: Evaluation


def _prose() -> list[str]:
    found = [paragraphs(text) for _, text in sorted(topics.items())]
    return ["\n\n".join(part[begin : begin + 2]) for part in found for begin in range(0, len(part), 2)][:COUNT]


def _word_salad(source: random.Random, words: list[str]) -> str:
    return " ".join(source.choices(words, k=source.randint(30, 90)))


def _symbols(source: random.Random, words: list[str]) -> str:
    alphabet = string.ascii_letters + string.digits + string.punctuation * 2 + "    "
    return "".join(source.choices(alphabet, k=source.randint(100, 500)))


def _menu(source: random.Random, words: list[str]) -> str:
    items = [f"{source.choice(MENU)} {source.choice(words)}" for _ in range(source.randint(8, 30))]
    return source.choice((" | ", "\n", " - ")).join(items)


@contextmanager
def one_thread() -> Iterator[None]:
    """For so small a model more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, write_jsonl: Callable[[Path, list[str]], Path]) -> Corpus:
    folder = tmp_path_factory.mktemp("quality")
    good = _prose()
    words = sorted({word.strip(".,:;()") for text in good for word in text.split()})
    source = random.Random(3)
    raw = [(_word_salad, _symbols, _menu)[number % 3](source, words) for number in range(COUNT)]
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
