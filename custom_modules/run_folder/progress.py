"""Where a run is: what a checkpoint keeps of it beside weights and optimizer. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from custom_modules.objective.logged import Distilled
from custom_modules.run_folder.distilled import DistilledSums
from custom_modules.run_folder.rollbacks import Rollback
from custom_modules.run_folder.spike_window import SpikeWindow
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
    data: dict[str, str] = field(default_factory=dict)
    """The digest of the training data of each stage that was begun."""
    validation: ValidationRecord | None = None
    """What was measured of these very weights; None if they were not evaluated."""
    validation_limits: dict[str, int] | None = None
    """Tokens of each source that the run is validated on, chosen when it began; None: it began in a version before 0.2,
    which read each stage's validation split as that stage's training reads its own."""
    padding_has_share: bool = True
    """Whether rows that pad the vocabulary took their share of every probability: in versions before 0.2 they did."""
    since_save_loss_sum: float = 0.0
    """As `loss_sum`, over the steps since the checkpoint before."""
    since_save_loss_steps: int = 0
    rollbacks: list[Rollback] = field(default_factory=list)
    """A copy of ``rollbacks.jsonl``: the order in which stages are read follows from it."""
    spike_window: SpikeWindow | None = None
    """What the next step of the stage is held against; None where nothing looks for spikes."""
    distilled: DistilledSums = field(default_factory=DistilledSums)
    """Sums over the distilled steps since the last log line."""
    preferences: dict[str, float] = field(default_factory=dict)
    """Of a DPO run: sums of what a step says of its pairs, over the steps since the last log line."""

    def add_step(self, loss: float, distilled: Distilled | None, weight: int) -> None:
        """Add up what a step found, unless it is not finite: the mean of the others is told all the same."""
        if math.isfinite(loss):
            self.loss_sum += weight * loss
            self.loss_steps += weight
            self.since_save_loss_sum += weight * loss
            self.since_save_loss_steps += weight
        if distilled is None or math.isfinite(distilled.objective):
            self.distilled.add(distilled, weight)

    def add_preferences(self, found: Mapping[str, float]) -> None:
        """Add up what a step found of its pairs, beside its loss."""
        self.preferences = {name: self.preferences.get(name, 0.0) + value for name, value in found.items()}

    def take_mean_preferences(self) -> dict[str, float]:
        """Return the means of what was added up; to be called before `take_mean_loss`, which begins the count anew."""
        means = {name: total / self.loss_steps for name, total in self.preferences.items()}
        self.preferences = {}
        return means

    def take_mean_loss(self) -> float:
        """Return the mean of what was added up, and begin anew; NaN where nothing was."""
        mean = self.loss_sum / self.loss_steps if self.loss_steps else math.nan
        self.loss_sum, self.loss_steps = 0.0, 0
        return mean

    @property
    def reduced_train_loss(self) -> float | None:
        """The mean training loss since the checkpoint before, in nats a token; None where it is not known, or not
        finite."""
        loss = self.since_save_loss_sum / self.since_save_loss_steps if self.since_save_loss_steps else math.nan
        return loss if math.isfinite(loss) else None

    def begin_after_checkpoint(self) -> None:
        """Forget the losses that a checkpoint has been given."""
        self.since_save_loss_sum, self.since_save_loss_steps = 0.0, 0

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Progress:
        """Return what ``dataclasses.asdict`` made plain values of; keys that are missing have their defaults."""
        record, window = plain.get("validation"), plain.get("spike_window")
        return cls(
            **{
                **plain,
                "distilled": DistilledSums.read(plain.get("distilled")),
                "validation": ValidationRecord(**record) if record else None,
                "rollbacks": [Rollback.read(one) for one in plain.get("rollbacks", ())],
                "spike_window": SpikeWindow(**window) if window else None,
            }
        )
