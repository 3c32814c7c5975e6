"""Small engines trained in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.batches import Batch, micro_batches
from custom_modules.data.random_tokens import RandomTokens
from custom_modules.platform import Platform
from custom_modules.training.engine import Engine
from tests.support.tiny import TINY


@dataclass
class Small:
    """The TINY curriculum: two stages, below the window and beyond it."""

    engine: Engine
    stages: tuple[Stage, ...]

    def batches(self, stage: Stage) -> list[Batch]:
        """Return the batches of a stage's first five steps."""
        vocabulary = self.engine.config.model.vocab_size
        tokens = RandomTokens(stage.seq_length, vocabulary)
        every = micro_batches(tokens, stage, 0, stage.num_samples, 0, vocabulary)
        return [next(every) for _ in range(5 * stage.num_microbatches)]

    def train(self, steps: int) -> list[tuple[float, float, Any]]:
        """So many steps of each stage; losses, gradient norms, and validation losses after each stage."""
        found: list[tuple[float, float, Any]] = []
        for stage in self.stages:
            batches = iter(self.batches(stage))
            for _ in range(steps):
                result = self.engine.train_step(batches, stage)
                found.append((result.loss, result.grad_norm, 0.0))
            found.append((0.0, 0.0, self.engine.evaluate(batches, stage, 2)))
        return found

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.engine.chunks[0].named_parameters()}


def small(*overrides: str) -> Small:
    """Needs the ``single_process`` fixture."""
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1", *overrides])
    curriculum = Curriculum.from_config(config)
    return Small(Engine(config, curriculum, Platform.detect(config)), curriculum.stages)
