"""Small conversations as `danube prepare` leaves them, and a model to fine-tune on them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer, Encoded
from custom_modules.config.model_parts import ArchitectureConfig
from custom_modules.data.chat_manifest import (
    DATASETS,
    FORMAT,
    SPLITS,
    ChatManifest,
    ChatTokenizerEntry,
    FileEntry,
    SplitEntry,
)
from custom_modules.data.index import IndexedDatasetWriter
from custom_modules.data.layout import MANIFEST, TOKENIZER
from custom_modules.files import sha256_of
from tests.support.tiny import VOCAB_SIZE

LENGTH = 96
SFT = [
    "pretrained=danube_rehearsal",
    "trainer.cpu_threads=1",
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=4",
    "model.num_query_groups=2",
    f"model.vocab_size={VOCAB_SIZE}",
    "model.sliding_window=24",
    f"model.encoder_seq_length={LENGTH}",
    "model.global_batch_size=8",
    "model.micro_batch_size=2",
    "model.optim.lr=0.01",
    "trainer.log_every_n_tokens=1",
    "trainer.val_every_n_tokens=1500",
    "trainer.limit_val_tokens=2000",
    "exp_manager.create_tensorboard_logger=false",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=1500",
]
"""The model of `tests.support.tiny`, on samples of up to 96 tokens, 8 a step."""
SHAPE = {f"model.{key}" for key in ArchitectureConfig.model_fields}
SAMPLES = 101
"""12 steps of 8, and one of 5."""


def conversations(count: int, seed: int) -> list[list[dict[str, str]]]:
    """Return conversations of one or two turns, of very different lengths; what is answered follows from the prompt."""
    source = random.Random(seed)
    words = ["".join(source.choices("abcdefghijklmnop", k=source.randint(2, 6))) for _ in range(20)]
    found = []
    for _ in range(count):
        messages = []
        for _ in range(source.choice([1, 1, 2])):
            asked = source.choices(words, k=source.choice([1, 1, 2, 4]))
            messages.append({"role": "user", "content": " ".join(asked)})
            answer = (asked * 8)[: source.choice([1, 1, 2, 8])]
            messages.append({"role": "assistant", "content": " ".join(answer)})
        found.append(messages)
    return found


def write_conversations(
    folder: Path, model: Path, splits: Sequence[Sequence[Encoded]] | None = None, length: int = LENGTH
) -> Path:
    """Write encoded samples as a ``data.dir``; return it.

    Args:
        model: a SentencePiece model.
        splits: of training and of validation; None: `SAMPLES` and 20 of `conversations`.
    """
    tokenizer = ChatTokenizer.from_file("sentencepiece", model)
    if splits is None:
        splits = [[encode(tokenizer, each, length) for each in conversations(n, n)] for n in (SAMPLES, 20)]
    (folder / TOKENIZER).mkdir(parents=True)
    tokenizer.save(folder / TOKENIZER)
    entries = {}
    for name, samples in zip(SPLITS, splits, strict=True):
        (folder / name).mkdir()
        for part, attribute, kind in zip(DATASETS, ("ids", "answers"), ("uint16", "uint8"), strict=True):
            writer = IndexedDatasetWriter(folder / name / part, np.dtype(kind))
            for sample in samples:
                writer.append(np.array(getattr(sample, attribute), kind), np.array([len(sample.ids)], np.int32))
            writer.finish()
        files = sorted((folder / name).iterdir())
        entries[name] = SplitEntry(
            samples=len(samples),
            tokens=sum(len(sample.ids) for sample in samples),
            answer_tokens=sum(sum(sample.answers) for sample in samples),
            longest=max((len(sample.ids) for sample in samples), default=0),
            sources={"made": len(samples)},
            files={f"{name}/{path.name}": _entry(path) for path in files},
        )
    its_files = {path.name: _entry(path) for path in sorted((folder / TOKENIZER).iterdir())}
    described = ChatTokenizerEntry(
        tokenizer.sha256, tokenizer.base_sha256, tokenizer.vocab_size, tokenizer.eos_id, tokenizer.pad_id, its_files
    )
    options = {"encoder_seq_length": length}
    ChatManifest(folder / MANIFEST, FORMAT, "conversations", options, described, entries).write()
    return folder


def make_base(run_dir: Path, model: Path, *overrides: str) -> Path:
    """Save a run's checkpoint with weights as they are drawn, in this process; return the run's folder.

    Args:
        model: a SentencePiece model.
    """
    from custom_modules.config.load import load_config
    from custom_modules.config.stages import Curriculum
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron
    from custom_modules.run_folder.progress import Progress
    from custom_modules.training.checkpoint import save_checkpoint
    from custom_modules.training.engine import Engine

    import_megatron()
    shape = [word for word in SFT if word.startswith("model.") and word.split("=")[0] in SHAPE]
    config = load_config("danube_rehearsal", [*shape, "trainer.devices=1", "trainer.cpu_threads=1", *overrides])
    platform = Platform.detect(config)
    with platform.running(config):
        engine = Engine(config, Curriculum.from_config(config), platform)
        progress = Progress(consumed_tokens=8192, step=1, stage="stage1")
        save_checkpoint(engine, run_dir, progress, model.parent, sha256_of(model), set())
    return run_dir


def encode(tokenizer: ChatTokenizer, messages: Sequence[dict[str, str]], length: int) -> Encoded:
    """Encode a conversation, cut at its end."""
    encoded = tokenizer.encode(messages)
    return Encoded(encoded.ids[:length], encoded.answers[:length])


def _entry(path: Path) -> FileEntry:
    return FileEntry(path.stat().st_size, sha256_of(path))
