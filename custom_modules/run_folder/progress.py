"""Where a run is: what a checkpoint keeps of it beside weights and optimizer. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from custom_modules.run_folder.validation_record import ValidationRecord


@dataclass
class Progress:
    """Where a run is, beside what the weights and the optimizer hold."""

    consumed_tokens: int = 0
    """The token clock. The position in a stage's data follows from it."""
    step: int = 0
    stage: str = ""
    """The stage of the last step."""
    is_stage_end: bool = False
    loss_sum: float = 0.0
    """The sum over the steps since the last log line, so that a resumed run logs the same means."""
    loss_steps: int = 0
    """How many steps that is; in a stage whose batch grows, the sequences in them, which each loss is weighted by."""
    since_save_loss_sum: float = 0.0
    """As `loss_sum`, over the steps since the checkpoint before."""
    since_save_loss_steps: int = 0
    data: dict[str, str] = field(default_factory=dict)
    """The digest of the training data of each stage that was begun."""
    validation: ValidationRecord | None = None
    """What was measured of these very weights; None if they were not evaluated."""
    validation_limits: dict[str, int] | None = None
    """Tokens of each source that the run is validated on, chosen when it began; None: it began in a version before 0.2,
    which read each stage's validation split as that stage's training reads its own."""
    padding_has_share: bool = True
    """Whether rows that pad the vocabulary took their share of every probability: in versions before 0.2 they did."""

    @property
    def reduced_train_loss(self) -> float | None:
        """The mean training loss since the checkpoint before, in nats a token; None where it is not known, or not
        finite."""
        loss = self.since_save_loss_sum / self.since_save_loss_steps if self.since_save_loss_steps else math.nan
        return loss if math.isfinite(loss) else None

    def add_loss(self, loss: float, weight: int) -> None:
        """Count the loss of a step, in nats a token, for the next log line and the next checkpoint."""
        self.loss_sum += weight * loss
        self.loss_steps += weight
        self.since_save_loss_sum += weight * loss
        self.since_save_loss_steps += weight

    def begin_after_checkpoint(self) -> None:
        """Forget the losses that a checkpoint has been given."""
        self.since_save_loss_sum, self.since_save_loss_steps = 0.0, 0

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Progress:
        """Return what ``dataclasses.asdict`` made plain values of; keys that are missing have their defaults."""
        record = plain.get("validation")
        return cls(**{**plain, "validation": ValidationRecord(**record) if record else None})
