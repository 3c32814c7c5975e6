"""A small causal language model with a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.teachers import write_byte_level, write_llama


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(write_byte_level(tmp_path_factory.mktemp("models") / "llama"), 448)
