"""What the processes of a variant hand back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Timing:
    """What the processes of a variant measured in one stage: of each step what the slowest took."""

    device: str
    data: str
    """Where the windows, or samples, came from: prepared or random."""
    seq_length: int
    """Tokens of the longest measured step's sequences, with what pads them."""
    mean_length: float
    """The mean tokens of its sequences, without what pads them."""
    tokens: tuple[int, ...]
    """Of each measured step, without what pads them."""
    seconds: tuple[float, ...]
    """What each measured step took."""
    loader_seconds: tuple[float, ...]
    """What of that was spent waiting for batches."""
    memory_bytes: int
    """The most that one process took for the model and its steps; on a CPU, what its resident memory grew by."""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Timing:
        """Read what `dataclasses.asdict` and JSON made of one."""
        return cls(**{**plain, **{name: tuple(plain[name]) for name in ("tokens", "seconds", "loader_seconds")}})

    @property
    def rates(self) -> list[float]:
        """Tokens/s over all devices, of each measured step."""
        return [tokens / seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]

    @property
    def fastest(self) -> float:
        """The speed of the fastest step."""
        return max(self.rates)

    @property
    def tokens_per_second(self) -> float:
        """The speed of all devices together, by the median step."""
        return median(self.rates)
