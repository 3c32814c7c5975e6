"""What `danube prepare` has left for each stage, against what the stage will read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.blends import Blend, blends_of
from custom_modules.data.manifest import (
    MANIFEST,
    Part,
    beyond_epochs,
    epochs_needed,
    load_manifest,
    may_read,
)
from custom_modules.data.tokenizer_check import check_tokenizer
from custom_modules.data.validation_limits import validation_problems
from custom_modules.errors import UserError
from custom_modules.plan.seen import SeenContext, seen_contexts


@dataclass(frozen=True)
class SourceData:
    """The training text of one source in one stage."""

    share: float
    """The part of the stage's trained tokens."""
    trained_tokens: float
    """What is trained of this source; whole sequences make it up to one sequence more."""
    tokens: int
    """Prepared."""

    @property
    def epochs(self) -> float:
        return self.trained_tokens / self.tokens


@dataclass(frozen=True)
class StageData:
    """The training text of one stage."""

    tokens: int
    epochs: float | None
    """Trained tokens / tokens there are; None if there are none."""
    max_epochs_needed: int | None
    """The least ``data.max_epochs`` that allows the stage, as one number for all sources; None if none does."""
    refused: str | None
    """Why training would refuse the stage, and what to do; None if it would not."""
    sources: dict[str, SourceData]
    beyond_epochs: int = 0
    """Sequences that it reads once more than ``data.max_epochs``: under 1% of a part."""


@dataclass(frozen=True)
class Distilled:
    """The distilled text of one source in one stage."""

    documents: int
    tokens: int


@dataclass(frozen=True)
class PreparedData:
    """The data of all stages."""

    manifest: str
    problem: str | None
    """Why there is none to plan with; None if there is."""
    stages: dict[str, StageData]
    """Empty where there is a problem."""
    validation: tuple[str, ...] = ()
    """What is wrong with the validation documents, and what to do, a line each."""
    distilled: dict[str, dict[str, Distilled]] = field(default_factory=dict)
    """By stage and source; of stages that have distilled parts alone."""
    seen: dict[str, SeenContext] = field(default_factory=dict)
    """By stage: see `custom_modules.plan.seen.seen_contexts`."""


def read_prepared(config: Config, curriculum: Curriculum) -> PreparedData:
    """Measure the prepared data by its manifest alone. A plan needs none, so whatever is wrong is said, not raised."""
    path = Path(config.data.dir) / MANIFEST
    if not path.is_file():
        return PreparedData(str(path), f"not prepared yet ({path} is not there); run `danube prepare`", {})
    try:
        manifest = load_manifest(config)
        list(check_tokenizer(config, manifest))
    except UserError as error:
        return PreparedData(str(path), str(error), {})
    parts = {stage.name: manifest.stages.get(stage.name, {}).get("train", []) for stage in curriculum.stages}
    stages = {stage.name: _measure(config, stage, parts[stage.name]) for stage in curriculum.stages}
    are_mixed = all(stage.sources for stage in stages.values())
    problems = tuple(validation_problems(config, manifest)) if are_mixed else ()
    distilled = {name: found for name, own in parts.items() if (found := _distilled(own))}
    return PreparedData(str(path), None, stages, problems, distilled, seen_contexts(config, manifest))


def _distilled(parts: Sequence[Part]) -> dict[str, Distilled]:
    own = [part for part in parts if part.stream == "distilled"]
    return {part.source: Distilled(part.documents, part.tokens) for part in own}


def _measure(config: Config, stage: Stage, parts: list[Part]) -> StageData:
    total = sum(part.tokens for part in parts)
    if total == 0:
        return StageData(0, None, None, "refused: no text; run `danube prepare`", {})
    epochs = stage.trained_tokens / total
    try:
        blends = blends_of(config, stage, parts)
    except UserError as error:
        return StageData(total, epochs, None, f"refused: {error}", {})
    sources = _sources(stage, blends)
    needed: dict[str, int] = {}
    beyond, is_enough = 0, True
    for part, number, per_epoch in chain.from_iterable(blend.wanted() for blend in blends):
        count = epochs_needed(number, per_epoch)
        if count is None:
            refused = f"refused: too short for {stage.seq_length} tokens; add text"
            return StageData(total, epochs, None, refused, sources)
        needed[part.source] = max(count, needed.get(part.source, 0))
        read = number, per_epoch, config.data.max_epochs_of(part.source)
        beyond += beyond_epochs(*read)
        is_enough = is_enough and may_read(*read)
    too_often = None if is_enough else f"refused: {config.data.more_epochs(needed)} or add text"
    return StageData(total, epochs, max(needed.values()), too_often, sources, beyond if is_enough else 0)


def _sources(stage: Stage, blends: Sequence[Blend]) -> dict[str, SourceData]:
    """Return what a stage trains of each source, over all its blends."""
    shares: dict[str, Fraction] = {}
    tokens: dict[str, int] = {}
    for blend in blends:
        for part, weight in zip(blend.parts, blend.weights, strict=True):
            share = weight * Fraction(blend.num_samples, stage.num_samples)
            shares[part.source] = shares.get(part.source, Fraction()) + share
            tokens[part.source] = tokens.get(part.source, 0) + part.tokens
    return {
        name: SourceData(float(share), float(share) * stage.trained_tokens, tokens[name])
        for name, share in shares.items()
    }
