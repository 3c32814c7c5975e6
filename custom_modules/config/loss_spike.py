"""``exp_manager.loss_spike``: what counts as a spike of the loss, and what a run does about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from custom_modules.config.sections import Float, PositiveFloat, PositiveInt, Section


class LossSpikeConfig(Section):
    window: PositiveInt = 128
    """Losses, and gradient norms, that a step's own is held against: the last that were not high."""
    deviations: PositiveFloat = 6.0
    """Above their median by so many standard deviations, as their median absolute deviation gives it."""
    floor: Annotated[Float, Field(ge=0)] = 0.2
    """And by at least so many nats."""
    patience: PositiveInt = 8
    """High steps in a row that are a spike."""
    on_spike: Literal["stop", "skip", "rollback"] = "rollback"
    """End the run, leave out the updates of high steps, or go back to a checkpoint and on with another order."""
    max_rollbacks: PositiveInt = 3
    """How often it may go back from one spike, before it ends."""
