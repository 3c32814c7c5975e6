"""Runs of `danube prepare` for conversations and pairs, with the small tokenizer of these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.load import load_config
from custom_modules.config.sft import SftConfig
from custom_modules.data.conversations import Conversations, load_conversations
from custom_modules.data.preferences import Preferences, load_preferences
from data_prep.conversations import prepare
from data_prep.work.workers import Pool
from tests.support.pools import Here
from tests.support.texts import VOCAB_SIZE

SETS = {
    "sft": ("danube_sft_rehearsal", ("openorca", "metamathqa", "ultrachat200k", "oasst2")),
    "dpo": (
        "danube_dpo_rehearsal",
        ("ultrafeedback_binarized", "orca_dpo_pairs", "distilabel_math_preference_dpo"),
    ),
}
Overrides = Callable[..., list[str]]


@pytest.fixture
def overrides(tmp_path: Path, tokenizer_file: Path) -> Overrides:
    """Overrides of a rehearsal without its sets: one worker, the small tokenizer, half of it held out."""

    def build(kind: str, *more: str, directory: Path = tmp_path / "data") -> list[str]:
        return [
            f"data.dir={directory}",
            f"model.tokenizer.model={tokenizer_file}",
            f"model.vocab_size={VOCAB_SIZE}",
            "data.workers=1",
            "data.validation_fraction=0.5",
            *(f"data.sources.{name}=null" for name in SETS[kind][1]),
            *more,
        ]

    return build


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have units done here, in any order, without the seconds that a process takes to begin."""

    @contextmanager
    def here(count: int) -> Iterator[Pool]:
        yield Here()

    monkeypatch.setattr(prepare, "Workers", here)


@pytest.fixture
def prepare_sft(overrides: Overrides, in_this_process: None) -> Callable[..., Conversations]:
    """Prepare conversations, and open them."""

    def run(*more: str, replace: bool = False, **keywords: Path) -> Conversations:
        config = load_config(SETS["sft"][0], overrides("sft", *more, **keywords), kind=SftConfig)
        prepare.run(config, replace)
        return load_conversations(config)

    return run


@pytest.fixture
def prepare_dpo(overrides: Overrides, in_this_process: None) -> Callable[..., Preferences]:
    """Prepare pairs, and open them."""

    def run(*more: str, replace: bool = False, **keywords: Path) -> Preferences:
        config = load_config(SETS["dpo"][0], overrides("dpo", *more, **keywords), kind=DpoConfig)
        prepare.run(config, replace)
        return load_preferences(config)

    return run
