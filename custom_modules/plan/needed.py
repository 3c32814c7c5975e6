"""How much text the stages' mixes ask for, so that no part is read more often than ``data.max_epochs``."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.streams import STREAMS, Stream
from custom_modules.data.blends import streams_of
from custom_modules.data.manifest import samples_per_part
from custom_modules.plan.prepared import Distilled, PreparedData

ByStream = dict[Stream, int]


def needed_by_stream(config: Config, stage: Stage, distilled: Mapping[str, Distilled]) -> dict[str, ByStream]:
    """Return the tokens that each part of each source of a stage's mix must have; empty where it has none.

    A sequence shares its last label with the next one's first token, so there is one token more than the sequences.
    Where teachers have texts, a distilled sequence is one document: as long as those that are prepared are on average,
    and before there are any as if it filled the sequence.

    Args:
        distilled: by source, what is prepared of the stage.
    """
    mix = config.curriculum.stages[stage.name].mix or {}
    shares = {source: Fraction(share) / sum(map(Fraction, mix.values())) for source, share in mix.items()}
    streams, every = streams_of(config, stage), config.distilled_every
    if streams is None and every is not None:
        return {source: _of_both(config, stage, source, share, every) for source, share in shares.items()}
    samples: ByStream = {"plain": stage.num_samples}
    if streams is not None:
        samples = {stream: streams.samples(stream) for stream in STREAMS}
    found: dict[str, ByStream] = {source: {} for source in shares}
    for stream, number in samples.items():
        wanted = samples_per_part(number, list(shares.values())) if shares and number else []
        for source, sequences in zip(shares, wanted, strict=False):
            documents = -(-sequences // config.data.max_epochs_of(source))
            there = distilled.get(source)
            if stream == "distilled" and there and there.documents and reads_documents(config):
                found[source][stream] = -(-documents * there.tokens // there.documents)
            else:
                found[source][stream] = documents * stage.seq_length + 1
    return found


def reads_documents(config: Config) -> bool:
    """Tell whether a distilled sequence is one document, cut or padded, as it is where teachers have texts."""
    return config.distilled_every is not None and config.distillation is not None and bool(config.distillation.texts)


def _of_both(config: Config, stage: Stage, source: str, share: Fraction, every: int) -> ByStream:
    """Return what is needed where both parts of a source are read as one, in proportion to their tokens.

    Each of them gives a sequence more than its share, and has up to two fewer an epoch than its tokens come to: what
    the smaller one needs for that, the other has in proportion.
    """
    often = config.data.max_epochs_of(source)
    sequences = ceil(stage.num_samples * share) + every * (2 + 2 * often)
    tokens = -(-sequences * stage.seq_length // often)
    return {"plain": -(-tokens * (every - 1) // every), "distilled": -(-tokens // every)}


def needed_parts(config: Config, curriculum: Curriculum, data: PreparedData) -> dict[str, dict[str, ByStream]]:
    """Return `needed_by_stream` of all stages, by source and stage."""
    found: dict[str, dict[str, ByStream]] = {}
    for stage in curriculum.stages:
        for source, parts in needed_by_stream(config, stage, data.distilled.get(stage.name, {})).items():
            found.setdefault(source, {})[stage.name] = parts
    return found


def needed_in_all(parts: ByStream, every: int | None) -> int:
    """Return the tokens of a source that give its parts what they need, when one document in ``every`` is distilled.

    Args:
        parts: what they need; the plain one alone where none is distilled.
        every: None: none is.
    """
    if every is None:
        return parts["plain"]
    return max(-(-tokens * every // (1 if stream == "distilled" else every - 1)) for stream, tokens in parts.items())
