"""A tiny chat model and pairs that it can learn to tell apart, prepared once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.preferences import make_chat_export, make_pairs, prepare_pairs

pytest.importorskip("trl", reason="the extra chat is not installed")


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a chat model."""
    return make_chat_export(tmp_path_factory.mktemp("chat") / "export")


@pytest.fixture(scope="session")
def pairs(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.dir`` of about 50 pairs of one or two turns."""
    return prepare_pairs(tmp_path_factory.mktemp("pairs") / "toy", export, make_pairs(50, 1))
