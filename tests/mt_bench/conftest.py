"""A chat model of random weights, a small MT-Bench, and the model's answers to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.cli import main
from tests.support.chat_model import make_chat_export
from tests.support.mt_bench import make_bench

NEW_TOKENS = "6"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is not to be changed."""
    return make_chat_export(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight categories with a question each, not to be changed."""
    return make_bench(tmp_path_factory.mktemp("data") / "mt_bench")


@pytest.fixture(scope="session")
def all_answers(model: Path, bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results' folder with all eight answers, not to be changed."""
    output = tmp_path_factory.mktemp("answers") / "output"
    words = ["--bench", str(bench), "--output", str(output), "--max-new-tokens", NEW_TOKENS]
    assert main(["mt-bench", str(model), *words, "--answers-only", "--categories", "all"]) == 0
    return output


@pytest.fixture
def judged(model: Path, bench: Path, all_answers: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The words of a command that has only to judge, in ``tmp_path / "output"``."""
    shutil.copytree(all_answers, tmp_path / "output")
    words = ["--bench", str(bench), "--output", str(tmp_path / "output"), "--max-new-tokens", NEW_TOKENS]
    return lambda *more: ["mt-bench", str(model), *words, *more]
