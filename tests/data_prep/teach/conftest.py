"""Prepared data with a distilled part, and teachers of another tokenizer, once for all tests here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.distilled import prepare_distilled
from tests.support.teachers import write_byte_level, write_llama


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.dir`` that nobody changes."""
    return prepare_distilled(tmp_path_factory.mktemp("distilled"))


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it, with its tokenizer beside it."""
    shutil.copytree(prepared, tmp_path / "data")
    shutil.copy(prepared.parent / "tokenizer.model", tmp_path)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's folder."""
    return write_llama(write_byte_level(tmp_path_factory.mktemp("teachers") / "llama"), 448)
