"""Small corpora, a small tokenizer trained on such text, and configs whose stages they can fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
import sentencepiece

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from tests.support.texts import VOCAB_SIZE, random_texts


@pytest.fixture(scope="session")
def make_texts() -> Callable[..., list[str]]:
    """``count`` different texts of about ``words`` words: some need byte fallback, some have odd spaces."""
    return random_texts


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama-like ``tokenizer.model`` of 512 pieces."""
    prefix = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in random_texts(500, seed=1) for line in text.splitlines()]),
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")


@pytest.fixture
def overrides(tmp_path: Path, tokenizer_file: Path) -> Callable[..., list[str]]:
    """Overrides of the rehearsal for given inputs: two stages, one worker, the small tokenizer."""

    def build(inputs: Path | list[Path], *more: str, directory: Path = tmp_path / "data") -> list[str]:
        paths = [inputs] if isinstance(inputs, Path) else inputs
        return [
            f"data.dir={directory}",
            f"data.input=[{','.join(map(str, paths))}]",
            f"model.tokenizer.model={tokenizer_file}",
            f"model.vocab_size={VOCAB_SIZE}",
            "data.train_tokenizer=false",
            "data.workers=1",
            "data.validation_fraction=0.3",
            "curriculum.stages.stage2.tokens=2_000_000",
            "~curriculum.stages.stage3",
            "~curriculum.stages.stage4",
            *more,
        ]

    return build


@pytest.fixture
def make_config(overrides: Callable[..., list[str]]) -> Callable[..., Config]:
    return lambda *arguments, **keywords: load_config("danube_rehearsal", overrides(*arguments, **keywords))


@pytest.fixture(scope="session")
def write_jsonl() -> Callable[[Path, list[str]], Path]:
    def write(path: Path, texts: list[str]) -> Path:
        path.write_bytes(b"".join(orjson.dumps({"text": text}, option=orjson.OPT_APPEND_NEWLINE) for text in texts))
        return path

    return write


@pytest.fixture(scope="session")
def read_dataset() -> Callable[[Path], dict[tuple[str, str], list[list[int]]]]:
    """The ids of every document of a prepared folder by stage and split, through megatron-core's own reader."""
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    def read(directory: Path) -> dict[tuple[str, str], list[list[int]]]:
        documents = {}
        for index in sorted(directory.glob("*/text_*.idx")):
            dataset = IndexedDataset(str(index.with_suffix("")))
            assert np.array_equal(dataset.document_indices, np.arange(len(dataset) + 1))
            split = index.stem.removeprefix("text_")
            documents[index.parent.name, split] = [dataset[i].tolist() for i in range(len(dataset))]
        return documents

    return read


@pytest.fixture(scope="session")
def dataset_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Content of every ``.bin`` and ``.idx`` by its path in a prepared folder."""
    return lambda directory: {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.glob("*/text_*.*"))
    }
