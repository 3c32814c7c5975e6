"""A vocabulary in tiktoken's form, text in several formats, and what the command makes of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep.vocabulary.prune_tokenizer import PruneOptions, prune_tokenizer
from data_prep.vocabulary.report import PruningReport
from data_prep.vocabulary.train import train_tokens
from tests.support.texts import random_texts
from tests.support.tiktoken_files import write_tiktoken
from tests.support.tokenizers import ENGLISH


@dataclass(frozen=True)
class Vocabulary:
    tokens: list[bytes]
    file: Path


@dataclass(frozen=True)
class Pruned:
    folder: Path
    report: PruningReport


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """1,500 tokens that were trained on a part of the text."""
    tokens = train_tokens(ENGLISH[:20], 1500)
    return Vocabulary(tokens, write_tiktoken(tmp_path_factory.mktemp("vocabulary") / "mine.tiktoken", tokens))


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return [*ENGLISH, *random_texts(300)]


@pytest.fixture(scope="session")
def text_folder(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], write_jsonl: Callable[[Path, list[str]], Path]
) -> Path:
    """Half a megabyte: several units."""
    folder = tmp_path_factory.mktemp("text")
    write_jsonl(folder / "a.jsonl", documents[2:200])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(write_jsonl(folder / "b.jsonl", documents[200:]).read_bytes()))
    (folder / "b.jsonl").unlink()
    for number, text in enumerate(documents[:2]):
        (folder / f"c{number}.txt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def pruned(tmp_path_factory: pytest.TempPathFactory, vocabulary: Vocabulary, text_folder: Path) -> Pruned:
    """600 of them."""
    folder = tmp_path_factory.mktemp("pruned") / "tokenizer"
    report = prune_tokenizer(vocabulary.file, folder, PruneOptions(600, (str(text_folder),), is_any=True, workers=1))
    assert report is not None
    return Pruned(folder, report)
