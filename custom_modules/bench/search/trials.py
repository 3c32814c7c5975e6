"""What is tried: a setting that all stages of a run share, and in a stage a micro-batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from custom_modules.config.model_parts import Granularity
from custom_modules.config.recompute import stage_recompute
from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.stage_keys import seq_length, stage_section
from custom_modules.text import as_yaml, flatten

Values = dict[str, Any]
"""Dotted keys of a config, and their values."""

Setting = tuple[tuple[str, Any], ...]
"""The keys that are tried and that a run has one value of, in their order, with values."""

MOST_STEPS = 8
"""Steps that are measured of a trial at most, beside one that warms up."""

MICRO_BATCH = ("micro_batch_size", "micro_batch_tokens")
RECOMPUTE = (
    "activations_checkpoint_granularity",
    "activations_checkpoint_method",
    "activations_checkpoint_num_layers",
    "recompute_modules",
)


class Pass(NamedTuple):
    """What a device passes through at a time in a stage, and what of it the backward pass computes again."""

    micro_batch_size: int
    granularity: Granularity | None


class Trial(NamedTuple):
    """One measurement."""

    setting: Setting
    stage: str
    size: Pass
    repeat: int = 0
    """Which measurement of these it is, from 0."""


class Held(NamedTuple):
    """Keys that are not tried, since the command line gives them: as overrides, dotted."""

    keys: Collection[str]

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    def any_of(self, config: TrainingConfig, stage: str, names: tuple[str, ...]) -> bool:
        """Tell whether one of these keys of a stage is given, as its own or as the model's."""
        sections = (stage_section(config, stage), "model")
        return any(f"{section}.{name}" in self for section in sections for name in names)


def stage_values(config: TrainingConfig, stage: str, size: Pass, held: Held) -> Values:
    """Return the keys that give a stage what a trial has there, as its own where it may have some.

    Args:
        held: those of them stay as they are.
    """
    own = stage_section(config, stage)
    values: Values = {}
    if not held.any_of(config, stage, MICRO_BATCH):
        values[f"{own}.micro_batch_size"] = size.micro_batch_size
        if isinstance(config, Config):
            values[f"{own}.micro_batch_tokens"] = None
    if not held.any_of(config, stage, RECOMPUTE):
        # A stage without a granularity of its own has the model's.
        values |= dict.fromkeys((f"model.{name}" for name in RECOMPUTE[:3]), None)
        values |= dict.fromkeys((f"{own}.{name}" for name in RECOMPUTE[1:3]), None)
        values[f"{own}.{RECOMPUTE[0]}"] = size.granularity
        if size.granularity == "selective" and "mlp" not in config.model.recompute_modules:
            values[f"{own}.recompute_modules"] = ["mlp"]
        elif own != "model":
            values[f"{own}.recompute_modules"] = None
    return values


def run_values(config: TrainingConfig, setting: Setting, sizes: Mapping[str, Pass], held: Held) -> Values:
    """Return the keys that give a run a setting and each stage its micro-batch, in tokens: once for all stages where
    they have the same.

    Args:
        sizes: by stage; one that is not there keeps what it has.
    """
    values = dict(setting)
    for stage, size in sizes.items():
        values |= stage_values(config, stage, size, held)
    if not isinstance(config, Config):
        return values
    _keep_recompute(config, values, sizes)
    for stage, size in sizes.items():
        own = f"curriculum.stages.{stage}"
        if f"{own}.micro_batch_size" in values:
            values[f"{own}.micro_batch_size"] = None
            values[f"{own}.micro_batch_tokens"] = size.micro_batch_size * seq_length(config, stage)
    if sizes.keys() == config.stages.keys():
        for name in ("micro_batch_tokens", *RECOMPUTE):
            _hoist(values, list(sizes), name)
        if "model.micro_batch_tokens" in values:
            values["model.micro_batch_size"] = None
    return values


def _keep_recompute(config: Config, values: Values, sizes: Mapping[str, Pass]) -> None:
    """Give stages that are not tried the recomputation of the model as their own, where the model's is taken away."""
    if "model.activations_checkpoint_granularity" not in values:
        return
    for stage in config.stages.keys() - sizes.keys():
        kept = stage_recompute(config, stage)
        if kept.granularity is not None:
            own = f"curriculum.stages.{stage}"
            values[f"{own}.activations_checkpoint_granularity"] = kept.granularity
            if kept.granularity == "full":
                values[f"{own}.activations_checkpoint_method"] = kept.method
                values[f"{own}.activations_checkpoint_num_layers"] = kept.num_layers
            else:
                values[f"{own}.recompute_modules"] = list(kept.modules)


def _hoist(values: Values, stages: list[str], name: str) -> None:
    """Have the model's key say what all stages' own say alike."""
    keys = [f"curriculum.stages.{stage}.{name}" for stage in stages]
    found = [values.get(key) for key in keys]
    if any(key not in values for key in keys) or found[0] is None or any(value != found[0] for value in found):
        return
    values[f"model.{name}"] = found[0]
    values |= dict.fromkeys(keys, None)


def differing(config: TrainingConfig, values: Values) -> Values:
    """Return those values that a config does not have already."""
    plain = dict(flatten(config.model_dump()))
    return {key: value for key, value in values.items() if plain.get(key) != value}


def overrides(values: Values) -> Iterator[str]:
    """Yield values as words of a command line."""
    yield from (f"{key}={as_yaml(value)}" for key, value in values.items())
