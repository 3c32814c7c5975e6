"""The phases of a stage whose batch grows, as figures and as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.stages import Stage

HEADER = ("stage", "from token", "steps", "tokens/step", "sequences/step", "micro-batch", "accumulation")


@dataclass(frozen=True)
class PhasePlan:
    """Steps of a stage that have one batch. Tokens and sequences are over all devices."""

    start_tokens: int
    """Consumed tokens of the run when the phase begins."""
    end_tokens: int
    steps: int
    global_batch_tokens: int
    """Tokens a step."""
    global_batch_size: int
    """Sequences a step."""
    micro_batch_size: int
    num_microbatches: int
    """Gradient accumulation: forward passes a device makes in a step."""

    def cells(self, stage: str) -> tuple[str, ...]:
        """Return the row of a table with `HEADER`."""
        numbers = (self.start_tokens, self.steps, self.global_batch_tokens, self.global_batch_size)
        return (stage, *(f"{number:,}" for number in (*numbers, self.micro_batch_size, self.num_microbatches)))


def plan_phases(stage: Stage) -> tuple[PhasePlan, ...]:
    """Return a stage's phases: one where its batch does not grow."""
    return tuple(
        PhasePlan(
            start_tokens=phase.start_tokens,
            end_tokens=phase.end_tokens,
            steps=phase.steps,
            global_batch_tokens=phase.global_batch_tokens,
            global_batch_size=phase.global_batch_size,
            micro_batch_size=phase.micro_batch_size,
            num_microbatches=phase.num_microbatches,
        )
        for phase in stage.phases
    )
