"""What a step of a DPO run found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """What one step found, over all processes.

    Attributes:
        number: from 1.
        loss: the mean over its pairs.
        grad_norm: before clipping.
        learning_rate: what the step was taken with.
        preferences: the means of `custom_modules.run_folder.metrics.PREFERENCES`.
    """

    number: int
    loss: float
    grad_norm: float
    learning_rate: float
    preferences: dict[str, float]
