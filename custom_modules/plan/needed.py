"""How much text the stages' mixes ask for, so that no part is read more often than ``data.max_epochs``."""

from __future__ import annotations

from fractions import Fraction

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.manifest import samples_per_part


def needed_tokens(config: Config, stage: Stage) -> dict[str, int]:
    """Return the tokens of training text that a stage needs of each source of its mix; empty where it has none.

    A sequence shares its last label with the next one's first token, so there is one token more than the sequences.
    """
    mix = config.curriculum.stages[stage.name].mix or {}
    shares = {source: Fraction(share) / sum(map(Fraction, mix.values())) for source, share in mix.items()}
    wanted = samples_per_part(stage.num_samples, list(shares.values())) if shares else []
    return {
        source: -(-sequences // config.data.max_epochs_of(source)) * stage.seq_length + 1
        for source, sequences in zip(shares, wanted, strict=True)
    }


def needed_by_source(config: Config, curriculum: Curriculum) -> dict[str, dict[str, int]]:
    """Return the same of all stages, by source and stage."""
    found: dict[str, dict[str, int]] = {}
    for stage in curriculum.stages:
        for source, tokens in needed_tokens(config, stage).items():
            found.setdefault(source, {})[stage.name] = tokens
    return found
