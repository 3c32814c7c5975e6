"""The two streams of a stage: which of its samples are distilled, and where in its stream each stands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from custom_modules.config.stages import Stage

Stream = Literal["plain", "distilled"]
STREAMS: tuple[Stream, ...] = ("plain", "distilled")


class _Phase(NamedTuple):
    """Steps in a row of a stage that have one batch."""

    first_sample: int
    first_step: int
    distilled_before: int
    """Distilled samples of the stage before it."""
    batch: int
    """Sequences in a step."""


@dataclass(frozen=True)
class StageStreams:
    """A stage whose every so many-th step, counted from its first, reads the distilled stream and only it.

    All follows from the stage's phases, so that a sample's place needs no table of steps under a growing batch either.
    """

    stage: Stage
    every: int

    @property
    def distilled_samples(self) -> int:
        """Sequences of the stage that are distilled."""
        return self._phases[-1].distilled_before

    def samples(self, stream: Stream) -> int:
        """Return the sequences of the stage that a stream gives."""
        return self.distilled_samples if stream == "distilled" else self.stage.num_samples - self.distilled_samples

    def place(self, sample: int) -> tuple[Stream, int]:
        """Return the stream that a sample of the stage comes from, and its number there."""
        stream, distilled = self._of(sample)
        return stream, distilled if stream == "distilled" else sample - distilled

    def read_before(self, sample: int) -> dict[Stream, int]:
        """Return how many samples of each stream are among the stage's first so many."""
        distilled = self._of(sample)[1]
        return {"plain": sample - distilled, "distilled": distilled}

    def _of(self, sample: int) -> tuple[Stream, int]:
        """Return a sample's stream, and how many distilled ones are before it."""
        phase = self._phases[bisect_right(self._first_samples, sample) - 1]
        inside, at = divmod(sample - phase.first_sample, phase.batch)
        step = phase.first_step + inside
        distilled = phase.distilled_before + phase.batch * (step // self.every - phase.first_step // self.every)
        return ("distilled", distilled + at) if (step + 1) % self.every == 0 else ("plain", distilled)

    @cached_property
    def _phases(self) -> tuple[_Phase, ...]:
        """The stage's phases, and behind them one of no steps."""
        return tuple(self._cut())

    @cached_property
    def _first_samples(self) -> list[int]:
        return [phase.first_sample for phase in self._phases]

    def _cut(self) -> Iterator[_Phase]:
        step = distilled = 0
        for phase in self.stage.phases:
            batch = phase.global_batch_size
            yield _Phase(self.stage.consumed_samples(phase.start_tokens), step, distilled, batch)
            distilled += batch * ((step + phase.steps) // self.every - step // self.every)
            step += phase.steps
        yield _Phase(self.stage.num_samples, step, distilled, self.stage.global_batch_size)
