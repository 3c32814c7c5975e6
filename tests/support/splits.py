"""One global batch trained under every way to split it, with objectives that leave tokens out unevenly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import astuple
from pathlib import Path

import torch
from megatron.core import parallel_state
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import Dataset
from custom_modules.data.documents import random_documents
from custom_modules.objective import OBJECTIVES
from custom_modules.platform import Platform
from custom_modules.platform.world import World
from custom_modules.training.checkpoint import Progress, save_checkpoint
from custom_modules.training.engine import Engine
from tests.support.texts import VOCAB_SIZE
from tests.support.tiny import TINY

STEPS = 3
PROMPT = 40
"""Labels below it do not count."""

LAYERS = ["model.num_layers=4", "model.optim.lr=0.01", "model.optim.eps=0.001"]
"""With so large an eps an update is about proportional to its gradient, where that is mere rounding too."""


class Uneven(Dataset):
    """Random windows, of which every third has few labels that count, and every fifth none."""

    def __init__(self, seq_length: int) -> None:
        self.seq_length = seq_length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        below = PROMPT if index % 5 == 0 else PROMPT + 5 if index % 3 == 0 else VOCAB_SIZE
        generator = torch.Generator().manual_seed(index)
        window = torch.randint(0, below, (self.seq_length + 1,), generator=generator)
        return {"tokens": window[:-1], "labels": window[1:]}


class Masked:
    """The token losses of the labels that count."""

    from_logits = False

    def __init__(self, config: TrainingConfig) -> None:
        """Take nothing from the config."""

    def __call__(self, output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        counts = batch["labels"] >= PROMPT
        return (output * counts).sum(), counts.sum()


class MaskedLogits(Masked):
    """The same from logits."""

    from_logits = True

    def __call__(self, output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        assert output.shape[:2] == batch["labels"].shape
        losses = torch.nn.functional.cross_entropy(output.flatten(0, 1), batch["labels"].flatten(), reduction="none")
        return super().__call__(losses.view_as(batch["labels"]), batch)


def masked_config(overrides: list[str]) -> Config:
    OBJECTIVES.update(masked=Masked, masked_logits=MaskedLogits)
    return load_config("danube_rehearsal", [*TINY, *LAYERS, "objective=masked", *overrides])


def train(folder: Path, overrides: list[str], world: World) -> None:
    """Train a few steps, evaluate, and leave the numbers and a checkpoint in a folder."""
    config = masked_config(overrides)
    platform = Platform.detect(config, world)
    with platform.running(config):
        curriculum = Curriculum.from_config(config)
        engine, stage = Engine(config, curriculum, platform), curriculum.stages[0]
        rank = parallel_state.get_data_parallel_rank()
        dataset = Uneven(stage.seq_length)
        vocab_size, documents = config.model.vocab_size, random_documents(config)
        batches = micro_batches(dataset, stage, 0, stage.num_samples, rank, vocab_size, documents)
        steps = [astuple(engine.train_step(batches, stage)) for _ in range(STEPS)]
        losses = engine.evaluate(batches, stage, stage.num_microbatches)
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir(parents=True, exist_ok=True)
        save_checkpoint(engine, folder, Progress(1, 1, stage.name), tokenizer, "", set())
        if world.rank == 0:
            (folder / "found.json").write_text(json.dumps({"steps": steps, "losses": losses}))


def train_in_turn(
    rank: int,
    size: int,
    ports: list[int],
    runs: list[tuple[Path, list[str]]],
    train: Callable[[Path, list[str], World], None] = train,
) -> None:
    """What each of several processes does: all runs, one after the other, each connected at a port of its own."""
    for port, (folder, overrides) in zip(ports, runs, strict=True):
        train(folder, overrides, World(rank, size, rank, "127.0.0.1", port, "torchrun"))
