"""A small trained model: its checkpoint, written by megatron-core, and its logits."""

from __future__ import annotations

import json
import pydoc_data.topics
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.run_folder.metadata import METADATA
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.trained import LENGTHS, Trained, loki_config, make_trained, small_config


@pytest.fixture(scope="session")
def tokenizer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(train_tokenizer(sorted(pydoc_data.topics.topics.values())[:40], 500))
    return path


@pytest.fixture(scope="session")
def mistral() -> Path:
    """The tokenizer of Mistral-7B v0.1."""
    return Path(str(files("mistral_common").joinpath("data", "tokenizer.model.v1")))


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 400 tokens, of other text than the trained model's 500."""
    path = tmp_path_factory.mktemp("other") / "tokenizer.model"
    path.write_bytes(train_tokenizer(sorted(pydoc_data.topics.topics.values())[-40:], 400))
    return path


@pytest.fixture(scope="session")
def trained(tokenizer_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return make_trained(small_config(), tokenizer_model, tmp_path_factory.mktemp("run"), LENGTHS)


@pytest.fixture(scope="session")
def loki(tokenizer_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same with ALiBi, up to the longest sequence of its curriculum."""
    return make_trained(loki_config(), tokenizer_model, tmp_path_factory.mktemp("loki"), (7, 300, 1024))


@pytest.fixture(scope="session")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Hugging Face folder of the trained model; not to be changed."""
    from custom_modules.conversion import to_hf

    folder = tmp_path_factory.mktemp("exported") / "model"
    to_hf(trained.run_dir, folder)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """The Hugging Face folder, to change."""
    return shutil.copytree(exported, tmp_path / "hf")


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., None]:
    """Asserts that `from_hf` refuses a folder in one line that matches, and leaves nothing behind."""
    from custom_modules.conversion import from_hf

    def check(folder: Path, message: str, *overrides: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match=message) as raised:
            from_hf(folder, tmp_path / "runs" / "run", small_config(*overrides))
        assert "\n" not in str(raised.value)
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which a write beyond so many bytes of a file fails."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Path:
    """The checkpoint, to change; see `publish_again`."""
    return shutil.copytree(trained.checkpoint, tmp_path / trained.checkpoint.name)


@pytest.fixture(scope="session")
def publish_again() -> Callable[[Path], None]:
    """Makes a changed checkpoint whole: its digests are those of its files."""

    def publish(checkpoint: Path) -> None:
        metadata = json.loads((checkpoint / METADATA).read_text())
        for name in metadata["files"]:
            path = checkpoint / name
            metadata["files"][name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        (checkpoint / METADATA).write_text(json.dumps(metadata))

    return publish
