"""The first step's loss and gradients, of a vocabulary that each layout pads to another size."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from megatron.core import parallel_state

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.batches import micro_batches
from custom_modules.data.random_tokens import RandomTokens
from custom_modules.platform import Platform
from custom_modules.platform.world import World
from custom_modules.run_folder.progress import Progress
from custom_modules.training.checkpoint import save_checkpoint
from custom_modules.training.engine import Engine
from tests.support.tiny import TINY

VOCAB_SIZE = 300
PADDED = [*TINY, "model.num_query_groups=4", f"model.vocab_size={VOCAB_SIZE}"]
"""Tensor parallelism of 1, 2 and 4 pads it to 384, 512 and 512 rows by default; the last of 4 ranks has no others."""


def leave_gradients(folder: Path, overrides: list[str], world: World) -> None:
    """Leave the loss of a step, and a checkpoint that has the gradients where others have the weights."""
    config = load_config("danube_rehearsal", [*PADDED, *overrides])
    platform = Platform.detect(config, world)
    with platform.running(config):
        curriculum = Curriculum.from_config(config)
        engine, stage = Engine(config, curriculum, platform), curriculum.stages[0]
        tokens = RandomTokens(stage.seq_length, VOCAB_SIZE)
        rank = parallel_state.get_data_parallel_rank()
        batches = micro_batches(tokens, stage, 0, stage.num_samples, rank, VOCAB_SIZE)
        loss = engine._mean_loss(engine.forward_backward(batches, stage, stage.num_microbatches))
        with torch.no_grad():
            for parameter in engine.chunks[0].parameters():
                parameter.copy_(parameter.main_grad)
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir(parents=True, exist_ok=True)
        save_checkpoint(engine, folder, Progress(1, 1, stage.name), tokenizer, "", set())
        if world.rank == 0:
            (folder / "loss.json").write_text(json.dumps(loss))
