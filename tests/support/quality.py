"""English prose of this Python against word salad, symbols and menus, and small models to tell them apart."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import torch

from data_prep.builtin.docstrings import paragraphs
from data_prep.quality.evaluation import Evaluation

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


def prose() -> list[str]:
    found = [paragraphs(text) for _, text in sorted(topics.items())]
    return ["\n\n".join(part[begin : begin + 2]) for part in found for begin in range(0, len(part), 2)][:COUNT]


def word_salad(source: random.Random, words: list[str]) -> str:
    return " ".join(source.choices(words, k=source.randint(30, 90)))


def symbols(source: random.Random, words: list[str]) -> str:
    alphabet = string.ascii_letters + string.digits + string.punctuation * 2 + "    "
    return "".join(source.choices(alphabet, k=source.randint(100, 500)))


def menu(source: random.Random, words: list[str]) -> str:
    items = [f"{source.choice(MENU)} {source.choice(words)}" for _ in range(source.randint(8, 30))]
    return source.choice((" | ", "\n", " - ")).join(items)


@contextmanager
def one_thread() -> Iterator[None]:
    """More threads would only wait for each other in so small a model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
