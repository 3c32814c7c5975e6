"""Which parts of its prepared data a stage reads together, and how much of each.

Needs neither torch nor numpy: the plan reads it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.config.streams import STREAMS, StageStreams, Stream
from custom_modules.data.manifest import Part, part_weights, samples_per_part
from custom_modules.errors import UserError


@dataclass(frozen=True)
class Blend:
    """Parts that a stage's sequences are drawn from by fixed shares."""

    stream: Stream | None
    """The steps that read it; None: all of them."""
    parts: tuple[Part, ...]
    weights: tuple[Fraction, ...]
    """The share of its sequences that each part gives."""
    num_samples: int
    """Its sequences."""

    def wanted(self) -> Iterator[tuple[Part, int]]:
        """Yield each part with the sequences that are read of it, at most."""
        yield from zip(self.parts, samples_per_part(self.num_samples, self.weights), strict=True)


def streams_of(config: Config, stage: Stage) -> StageStreams | None:
    """Return the two streams of a stage; None where all parts are read as one: there are no teachers."""
    every = config.distilled_every
    return StageStreams(stage, every) if every and config.distillation and config.distillation.teachers else None


def blends_of(config: Config, stage: Stage, parts: Sequence[Part]) -> list[Blend]:
    """Return what a stage reads: one blend, or one of each stream that it has a step of.

    Args:
        parts: its training parts.

    Raises:
        UserError: the mix names what is not prepared, or a stream has no part.
    """
    mix = config.curriculum.stages[stage.name].mix
    streams = streams_of(config, stage)
    if streams is None:
        return [Blend(None, tuple(parts), tuple(part_weights(parts, mix)), stage.num_samples)]
    found = []
    for stream in STREAMS:
        own = tuple(part for part in parts if part.stream == stream)
        if not streams.samples(stream):
            continue
        if not own:
            raise UserError(
                f"distillation.every_n_batches={streams.every}: there is no {stream} part; run `danube prepare` with "
                "this config, or set distillation.teachers={}"
            )
        found.append(Blend(stream, own, tuple(part_weights(own, mix)), streams.samples(stream)))
    return found
