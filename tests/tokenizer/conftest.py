"""Small tokenizers, trained here."""

from __future__ import annotations

import io
import pydoc_data.topics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from data_prep.tokenize.train_tokenizer import train_tokenizer

ENGLISH = sorted(pydoc_data.topics.topics.values())[:40]
LLAMA = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "unk_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "pad_id": -1,
    "num_threads": 1,
    "minloglevel": 2,
}


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


def make_byte_level() -> Tokenizer:
    """A byte-level BPE like GPT-2's, whose post-processor adds bos and whose `<|end|>` and `<|bos|>` are special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|bos|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(ENGLISH, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=8)
    return tokenizer
