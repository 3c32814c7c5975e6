"""Vocabularies with the prompt format: tiny ones, and a real one of 32,000 pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.tokenizer.byte_bpe import write_tokenizer
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.tiktoken_files import cl100k_tokens
from tests.support.tokenizers import ENGLISH, make_byte_level, make_llama_3_like


def mistral(folder: Path) -> tuple[str, Path]:
    """The tokenizer of Mistral-7B v0.1, of 32,000 pieces."""
    package = find_spec("mistral_common")
    if package is None or package.origin is None:
        pytest.skip("mistral-common, which carries a vocabulary of 32,000 pieces, is not installed")
    return "sentencepiece", Path(package.origin).with_name("data") / "tokenizer.model.v1"


def rehearsal(folder: Path) -> tuple[str, Path]:
    """A tokenizer.model as `danube prepare` trains it."""
    (folder / "tokenizer.model").write_bytes(train_tokenizer(ENGLISH, 500))
    return "sentencepiece", folder / "tokenizer.model"


def pruned_cl100k(folder: Path) -> tuple[str, Path]:
    """The first tokens of cl100k_base, as LokiLM's tokenizer has those that its text needs most."""
    write_tokenizer(folder, cl100k_tokens()[:5000], is_whole=False)
    return "huggingface", folder / "tokenizer.json"


def gpt_2_like(folder: Path) -> tuple[str, Path]:
    """A byte-level BPE with more control tokens than one."""
    make_byte_level().save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|end|>", "bos_token": "<|bos|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return "huggingface", folder / "tokenizer.json"


def llama_3_like(folder: Path) -> tuple[str, Path]:
    """Bytes, in a vocabulary that has every pair of a piece's end and the next one's beginning."""
    make_llama_3_like().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    return "huggingface", folder / "tokenizer.json"


VOCABULARIES: list[Callable[[Path], tuple[str, Path]]] = [rehearsal, mistral, pruned_cl100k, gpt_2_like, llama_3_like]


@pytest.fixture(scope="session", params=VOCABULARIES, ids=lambda make: make.__name__)
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The library and the file of a tokenizer."""
    found: tuple[str, Path] = request.param(tmp_path_factory.mktemp("vocabulary"))
    return found


@pytest.fixture(scope="session")
def chat_tokenizer(vocabulary: tuple[str, Path]) -> ChatTokenizer:
    return ChatTokenizer.from_file(*vocabulary)


@pytest.fixture(scope="session")
def saved(chat_tokenizer: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What it saves; not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    chat_tokenizer.save(folder, 1024)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    """The rehearsal's kind."""
    return ChatTokenizer.from_file(*rehearsal(tmp_path_factory.mktemp("small")))
