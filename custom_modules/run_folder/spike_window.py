"""What a run's steps are held against, to tell which are high: a checkpoint keeps it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class SpikeWindow:
    """What steps are held against; plain values."""

    losses: list[float] = field(default_factory=list)
    """The last losses that were not high, the newest last."""
    grad_norms: list[float] = field(default_factory=list)
    """The last gradient norms that were not high."""
    high_steps: int = 0
    """The high steps up to now without another between them."""
    first_high_tokens: int | None = None
    """Consumed tokens at the begin of the first of them; None where there is none."""
