"""What would make a stage fit its devices, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from custom_modules.config.load import validate
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.memory import fullest_device
from custom_modules.text import as_yaml

CHUNK_SIZE = 2048
"""Tokens: their logits at a vocabulary of 32,000 are small beside a layer."""


@dataclass(frozen=True)
class Remedy:
    """A change to the config, by itself."""

    overrides: tuple[str, ...]
    """``key=value``, as on the command line."""
    cost: str
    total: int
    """Bytes of the fullest device in the stage, with it."""


def remedies(config: Config, stage: str, room: int) -> tuple[Remedy, ...]:
    """Find the changes that lower a stage's memory, the cheapest first.

    Args:
        room: bytes of a device that torch may have.
    """
    now = _total(config, stage)
    found = []
    for overrides, cost in _candidates(config, stage, room):
        try:
            total = _total(with_changes(config, overrides), stage)
        except UserError:
            continue
        if total < now:
            found.append(Remedy(tuple(f"{key}={as_yaml(value)}" for key, value in overrides.items()), cost, total))
    return tuple(found)


def _candidates(config: Config, stage: str, room: int) -> Iterator[tuple[dict[str, Any], str]]:
    own = f"curriculum.stages.{stage}"
    yield {f"{own}.micro_batch_size": _micro_batch_size(config, stage, room)}, "smaller matrices"
    yield {"model.optim.name": "distributed_fused_adam"}, "weights are gathered after every step"
    yield {"model.cross_entropy_chunk_size": CHUNK_SIZE}, "one more forward pass of lm_head"
    granularity = f"{own}.activations_checkpoint_granularity"
    selective: dict[str, Any] = {granularity: "selective"}
    if "mlp" not in config.model.recompute_modules:
        selective[f"{own}.recompute_modules"] = ["mlp"]
    yield selective, "one more forward pass of every MLP"
    yield {granularity: "full"}, "one more forward pass of every layer"
    tensor = config.model.tensor_model_parallel_size
    yield {"model.tensor_model_parallel_size": 2 * tensor}, "every layer waits for its group"


def _micro_batch_size(config: Config, stage: str, room: int) -> int:
    """The largest below the stage's that divides a device's share of the batch and fits, or 1."""
    planned = Curriculum.from_config(config).stage(stage)
    share = planned.micro_batch_size * planned.num_microbatches
    for size in range(planned.micro_batch_size - 1, 1, -1):
        if share % size == 0 and fullest_device(config, replace(planned, micro_batch_size=size)).total <= room:
            return size
    return 1


def with_changes(config: Config, overrides: dict[str, Any]) -> Config:
    """Return a config with other values of some dotted keys, checked."""
    plain = config.model_dump()
    for key, value in overrides.items():
        *path, last = key.split(".")
        section = plain
        for name in path:
            section = section[name]
        section[last] = value
    return validate(plain)


def _total(config: Config, stage: str) -> int:
    return fullest_device(config, Curriculum.from_config(config).stage(stage)).total
