"""Times steps in this process, one of those that train them, and finds what the slowest one took. Collective."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch

from custom_modules.config.stages import Step
from custom_modules.data.batches import Batch
from custom_modules.platform import Platform
from custom_modules.training.engine import Engine
from custom_modules.training.garbage import Garbage

T = TypeVar("T")


class Waited(Iterator[T]):
    """Passes an iterator on, and adds up what it takes."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self.seconds = 0.0

    def __next__(self) -> T:
        begun = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - begun


@dataclass(frozen=True)
class Measured:
    """What processes measured of the same steps.

    Attributes:
        seconds: each step's.
        loader_seconds: what of that was spent waiting for batches.
        memory_bytes: the most that was taken for the model and its steps.
    """

    seconds: tuple[float, ...]
    loader_seconds: tuple[float, ...]
    memory_bytes: int


def time_steps(
    platform: Platform,
    engine: Engine,
    opened: AbstractContextManager[Iterator[Batch]],
    steps: Sequence[Step],
    warmup: int,
    garbage: Garbage,
    memory_before: int,
) -> Measured:
    """Train steps, and measure those behind the first few.

    Args:
        opened: gives the micro-batches of all steps, one after the other.
        warmup: how many do not count.
        memory_before: `Platform.memory_bytes` before the model was built.

    Returns:
        Of each step what the slowest process took, and the memory of the fullest, on every process.
    """
    seconds, waits = [], []
    with opened as loaded:
        batches = Waited(loaded)
        for number, step in enumerate(steps):
            batches.seconds = 0.0
            platform.synchronize()
            begun = time.perf_counter()
            garbage.before_step(number)
            engine.train_step(batches, step)
            platform.synchronize()
            seconds.append(time.perf_counter() - begun)
            waits.append(batches.seconds)
    mine = (seconds[warmup:], waits[warmup:], platform.peak_memory_bytes() - memory_before)
    everyone = [mine] * platform.world.size
    torch.distributed.all_gather_object(everyone, mine)
    all_seconds, all_waits, memories = zip(*everyone, strict=True)
    return Measured(
        tuple(map(max, zip(*all_seconds, strict=True))), tuple(map(max, zip(*all_waits, strict=True))), max(memories)
    )
