"""What a scoring of ``trainer.evaluate``'s tasks found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskScores:
    """What one scoring found."""

    accuracy: dict[str, float]
    """By task, as a fraction, in the metric that it is reported in."""
    bits_per_byte: dict[str, float]
    """Of the right answers, by task; without the tasks that have not one right answer."""
    items: int
    tokens: int
    """What all processes passed through the model, with what fills passes up."""
    seconds: float

    def describe(self) -> str:
        """Return each task's figures in words."""
        bits = {name: f", {value:.4f} bits a byte" for name, value in self.bits_per_byte.items()}
        return "  ".join(f"{name} {value:.1%}{bits.get(name, '')}" for name, value in self.accuracy.items())
