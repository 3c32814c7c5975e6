"""Which parts of its prepared data a stage reads together, and how much of each.

Needs neither torch nor numpy: the plan reads it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.config.streams import STREAMS, StageStreams, Stream
from custom_modules.data.manifest import Part, part_weights, samples_per_part, windows_of
from custom_modules.errors import UserError


class Wanted(NamedTuple):
    """What a stage reads of a part."""

    part: Part
    samples: int
    """Sequences, at most."""
    per_epoch: int
    """Those that there are of it."""


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
    seq_length: int
    whole_documents: bool = False
    """A sequence is a document, not a window of all that stand one behind the other."""

    def wanted(self) -> Iterator[Wanted]:
        """Yield what is read of each part."""
        for part, samples in zip(self.parts, samples_per_part(self.num_samples, self.weights), strict=True):
            has = part.documents if self.whole_documents else windows_of(part.tokens, self.seq_length)
            yield Wanted(part, samples, has)


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
        return [Blend(None, tuple(parts), tuple(part_weights(parts, mix)), stage.num_samples, stage.seq_length)]
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
        with_texts = config.distillation is not None and bool(config.distillation.texts)
        whole = stream == "distilled" and with_texts
        weights = tuple(part_weights(own, mix))
        found.append(Blend(stream, own, weights, streams.samples(stream), stage.seq_length, whole))
    return found
