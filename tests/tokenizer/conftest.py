"""Small tokenizers, trained here."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer

from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.tokenizers import ENGLISH, LLAMA, make_byte_level


@pytest.fixture(scope="session")
def english() -> list[str]:
    return ENGLISH


@pytest.fixture(scope="session")
def llama_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.model like Llama's, as `danube prepare` trains it."""
    path = tmp_path_factory.mktemp("llama") / "tokenizer.model"
    path.write_bytes(train_tokenizer(ENGLISH, 1000))
    return path


@pytest.fixture
def train_sentencepiece(tmp_path: Path) -> Callable[..., Path]:
    """Trains a model with some of Llama's options changed; returns its path."""

    def train(vocab_size: int = 500, corpus: list[str] = ENGLISH, **options: Any) -> Path:
        model = io.BytesIO()
        lines = [line for text in corpus for line in text.splitlines()]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, vocab_size=vocab_size, **{**LLAMA, **options}
        )
        path = tmp_path / "tokenizer.model"
        path.write_bytes(model.getvalue())
        return path

    return train


@pytest.fixture
def byte_level() -> Tokenizer:
    return make_byte_level()


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> Tokenizer:
    return make_byte_level()
