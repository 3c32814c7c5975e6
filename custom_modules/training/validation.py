"""A stage's validation: the same documents every time, at the stage's length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_modules.config.schema import TEXT, Config
from custom_modules.config.stages import Stage
from custom_modules.data.dataset import Dataset, validation_dataset
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest
from custom_modules.data.validation_limits import window_count
from custom_modules.data.validation_set import ValidationSet, ValidationWindows
from custom_modules.errors import UserError
from custom_modules.run_folder.validation_record import ValidationRecord, sequences_sha256
from custom_modules.training.engine import Engine, MeanLoss

RECORDED = 64
"""Micro-batches whose losses are kept: 131,072 tokens of Danube's first stage, and 1,048,576 of its last."""


@dataclass(frozen=True)
class Evaluation:
    """What a validation found."""

    loss: float
    """The mean in nats a token that is scored."""
    tokens: int
    """How many are scored."""
    bits_per_byte: float | None
    """Over the texts' UTF-8 bytes; None: they are not known."""
    sources: dict[str, float] | None
    """The mean of each source; None where there is one without a name."""
    record: ValidationRecord | None
    """None: nothing is kept of it."""


class Validation:
    """Evaluates at one stage's length.

    Args:
        cache: folder for megatron-core's index files.
        chosen: the run's documents; None for a run of a version before 0.2, which reads all stages' validation splits,
            up to ``trainer.limit_val_tokens``.

    Raises:
        UserError: there is too little validation data for one micro-batch on every rank.
    """

    def __init__(
        self, config: Config, manifest: Manifest, stage: Stage, cache: Path, chosen: ValidationSet | None
    ) -> None:
        self.config = config
        self.stage = stage
        self.chosen = chosen
        group = config.model.micro_batch_group
        self.dataset: Dataset
        if chosen is not None:
            self.dataset = ValidationWindows(
                chosen, stage.seq_length, stage.micro_batch_size, stage.data_parallel_size * group
            )
            self.num_samples = len(self.dataset)
        else:
            self.dataset = validation_dataset(config, manifest, stage, cache)
            self.num_samples = window_count(config, stage, len(self.dataset))  # type: ignore[arg-type]
        self.num_microbatches = self.num_samples // (stage.micro_batch_size * stage.data_parallel_size)
        self._sha256: str | None = None

    def evaluate(self, engine: Engine, loader: Loader) -> Evaluation:
        """Evaluate. Collective.

        Raises:
            UserError: no token counts.
        """
        stage = self.stage
        with loader.open(self.dataset, stage, range(self.num_samples)) as batches:
            losses = engine.evaluate(batches, stage, self.num_microbatches)
        tokens, nats = _sums(losses)
        if not tokens:
            raise UserError(
                f"objective={self.config.objective}: no token of {stage.name}'s validation counts; look at the data"
            )
        recorded = losses[:RECORDED]
        if self._sha256 is None:
            self._sha256 = sequences_sha256(self.dataset, len(recorded) * stage.micro_batch_size)
        record = ValidationRecord(
            stage.name,
            stage.seq_length,
            stage.micro_batch_size,
            [loss.mean for loss in recorded],
            self._sha256,
            None if self.chosen is None else [loss.tokens for loss in recorded],
        )
        size = sum(self.chosen.text_bytes.values()) if self.chosen is not None else 0
        # Where the objective leaves tokens out, the bytes of those that it scores are not known.
        all_scored = self.chosen is not None and tokens == sum(self.chosen.tokens.values())
        bits = nats / math.log(2) / size if size and all_scored else None
        return Evaluation(nats / tokens, tokens, bits, self._by_source(losses), record)

    def _by_source(self, losses: Sequence[MeanLoss]) -> dict[str, float] | None:
        if not isinstance(self.dataset, ValidationWindows) or list(self.dataset.chosen.streams) == [TEXT]:
            return None
        found = {}
        for source in dict.fromkeys(filter(None, self.dataset.sources)):
            tokens, nats = _sums(
                [loss for loss, name in zip(losses, self.dataset.sources, strict=True) if name == source]
            )
            if tokens:
                found[source] = nats / tokens
        return found


def _sums(losses: Sequence[MeanLoss]) -> tuple[int, float]:
    """Return the tokens that are scored, and their nats."""
    return sum(loss.tokens for loss in losses), sum(loss.mean * loss.tokens for loss in losses)
