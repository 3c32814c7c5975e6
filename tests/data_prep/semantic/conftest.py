"""Shards of given vectors, planted copies of them, and a small encoder with random weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import transformers
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.support.semantic import SPECIAL, WORDS, Planted, plant, write_shards


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sizes here are small: threads that wait for each other would take most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shards() -> Callable[..., list[Path]]:
    """Files of [n, d] vectors, cut before the given rows."""
    return write_shards


@pytest.fixture(scope="session")
def planted() -> Callable[..., Planted]:
    """Vectors around some topics, and near-copies of some of them, in a random order."""
    return plant


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What save_pretrained writes of a two-layer BERT with 76 positions, and a tokenizer of whole words."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertModel(
            transformers.BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=96,
                max_position_embeddings=76,
            )
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_documents() -> Callable[..., list[str]]:
    """Different texts of random words."""

    def make(count: int, shortest: int = 25, longest: int = 60, seed: int = 0) -> list[str]:
        source = random.Random(seed)
        return [" ".join(source.choices(WORDS, k=source.randint(shortest, longest))) for _ in range(count)]

    return make
