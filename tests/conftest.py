"""The `danube` command as a subprocess, and small prepared data to train on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

VOCAB_SIZE = 512
TINY = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=4",
    "model.num_query_groups=2",
    f"model.vocab_size={VOCAB_SIZE}",
    "model.sliding_window=48",
    "model.global_batch_tokens=512",
    "model.micro_batch_size=2",
    "~curriculum.stages.stage3",
    "~curriculum.stages.stage4",
    "curriculum.stages.stage1={tokens: 7000, encoder_seq_length: 32}",
    "curriculum.stages.stage2={tokens: 3000, encoder_seq_length: 64}",
    "model.optim.sched.warmup_tokens=1024",
    "trainer.cpu_threads=1",
    "trainer.log_every_n_tokens=512",
    "trainer.val_every_n_tokens=4096",
    "trainer.limit_val_tokens=1024",
    "exp_manager.create_tensorboard_logger=false",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=2048",
]
"""20 steps of 512 tokens: 14 at length 32, below the window, and 6 at 64, beyond it."""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def danube_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "custom_modules.cli", *arguments]


@pytest.fixture(scope="session")
def danube() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command to its end; returns its exit code and output."""

    def run(*arguments: str, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            danube_command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.dir`` that `danube prepare` made from 400 small documents, for the TINY config."""
    return prepare(tmp_path_factory.mktemp("prepared"), 400, TINY)


def prepare(folder: Path, documents: int, overrides: list[str]) -> Path:
    """Make small documents and a tokenizer, and prepare them for a config; returns its ``data.dir``."""
    import sentencepiece

    from custom_modules.config.load import load_config
    from data_prep.prepare import run

    source = random.Random(7)
    words = ["".join(source.choices("abcdefghijklmnop", k=source.randint(2, 8))) for _ in range(400)]
    texts = [" ".join(source.choices(words, k=source.randint(10, 60))) for _ in range(documents)]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    run(
        load_config(
            "danube_rehearsal",
            [
                *overrides,
                f"data.dir={folder / 'data'}",
                f"data.input={folder / 'text.jsonl'}",
                f"model.tokenizer.model={folder / 'tokenizer.model'}",
                "data.validation_fraction=0.1",
                "data.workers=1",
            ],
        )
    )
    return folder / "data"


@pytest.fixture
def tiny(prepared: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Arguments of a `danube pretrain` on the prepared data, with its runs below ``tmp_path``."""

    def arguments(name: str, *overrides: str) -> list[str]:
        folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={tmp_path}", f"exp_manager.name={name}"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *overrides]

    return arguments


def read_metrics(run_dir: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture
def single_process() -> Iterator[None]:
    """megatron-core running on the CPU in this very process."""
    from custom_modules.config.load import load_config
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron

    import_megatron()
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1"])
    with Platform.detect(config).running(config):
        yield
