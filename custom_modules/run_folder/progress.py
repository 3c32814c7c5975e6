"""Where a run is: what a checkpoint keeps of it beside weights and optimizer. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from custom_modules.run_folder.distilled import DistilledSums
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
    distilled: DistilledSums = field(default_factory=DistilledSums)
    """Of the distilled steps since the last log line."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Progress:
        """Return what ``dataclasses.asdict`` made plain values of; keys that are missing have their defaults."""
        record = plain.get("validation")
        distilled = DistilledSums.read(plain.get("distilled"))
        return cls(**{**plain, "validation": ValidationRecord(**record) if record else None, "distilled": distilled})
