"""A stage's validation: the same sequences every time."""

from __future__ import annotations

from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.data.dataset import validation_dataset
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.validation_record import ValidationRecord, sequences_sha256
from custom_modules.training.engine import Engine

RECORDED = 64
"""Micro-batches whose losses are kept: 131,072 tokens of Danube's first stage, and 1,048,576 of its last."""


class Validation:
    """Evaluates one stage's validation split.

    Args:
        cache: folder for megatron-core's index files.

    Raises:
        UserError: there is too little validation data for one micro-batch on every rank.
    """

    def __init__(self, config: Config, manifest: Manifest, stage: Stage, cache: Path) -> None:
        self.config = config
        self.stage = stage
        self.dataset = validation_dataset(config, manifest, stage, cache)
        group = config.model.micro_batch_group
        together = stage.micro_batch_size * stage.data_parallel_size * group
        available = len(self.dataset)  # type: ignore[arg-type]
        groups = min(config.trainer.limit_val_tokens // stage.seq_length, available) // together
        if groups == 0:
            raise UserError(
                f"trainer.limit_val_tokens={config.trainer.limit_val_tokens}: {stage.name} evaluates {together} "
                f"sequences of {stage.seq_length} at a time, and there are {available}; raise it, or "
                "data.validation_fraction, or lower the micro-batch size"
            )
        self.num_microbatches = groups * group
        self.num_samples = groups * together
        self._sha256: str | None = None

    @property
    def num_tokens(self) -> int:
        return self.num_samples * self.stage.seq_length

    def evaluate(self, engine: Engine, loader: Loader) -> tuple[float, ValidationRecord]:
        """Return the mean loss over the tokens that count, and what a checkpoint keeps. Collective.

        Raises:
            UserError: no token counts.
        """
        stage = self.stage
        with loader.open(self.dataset, stage, range(self.num_samples)) as batches:
            losses = engine.evaluate(batches, stage, self.num_microbatches)
        tokens = sum(loss.tokens for loss in losses)
        if not tokens:
            raise UserError(
                f"objective={self.config.objective}: no token of {stage.name}'s validation counts; look at the data"
            )
        recorded = [loss.mean for loss in losses[:RECORDED]]
        if self._sha256 is None:
            self._sha256 = sequences_sha256(self.dataset, len(recorded) * stage.micro_batch_size)
        record = ValidationRecord(stage.name, stage.seq_length, stage.micro_batch_size, recorded, self._sha256)
        return sum(loss.mean * loss.tokens for loss in losses) / tokens, record
