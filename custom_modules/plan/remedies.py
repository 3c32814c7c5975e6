"""What would make a stage fit its devices, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from custom_modules.config.load import validate
from custom_modules.config.marks import may_change
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stage_keys import seq_length, seq_length_key, stage_section
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.memory import fullest_device
from custom_modules.text import as_yaml

WAYS = 3
"""How many an error names."""

CHUNK_SIZE = 2048
"""Tokens: their logits at a vocabulary of 32,000 are small beside a layer."""


@dataclass(frozen=True)
class Remedy:
    """A change to the config, by itself."""

    overrides: tuple[str, ...]
    """``key=value``, as on the command line, to be set together."""
    cost: str
    total: int
    """Bytes of the fullest device in the stage, with it."""


def remedies(config: TrainingConfig, stage: str, room: int, on_cpu: bool | None = None) -> tuple[Remedy, ...]:
    """Find the changes that lower a stage's memory, the cheapest first.

    Args:
        room: bytes of a device that torch may have.
        on_cpu: as `fullest_device` takes it.
    """
    now = _total(config, stage, on_cpu)
    found = [_remedy(config, stage, overrides, cost, on_cpu) for overrides, cost in _candidates(config, stage, room)]
    return tuple(remedy for remedy in found if remedy and remedy.total < now)


def ways_to_fit(
    config: TrainingConfig, stage: str, room: int, on_cpu: bool | None = None, resumed: bool = False
) -> tuple[Remedy, ...]:
    """Find what has a stage fit: changes that do by themselves, the cheapest first, else the cheapest ones together.

    Args:
        room: bytes of a device that torch may have.
        on_cpu: as `fullest_device` takes it.
        resumed: a run that goes on, where only keys that may change by then help.

    Returns:
        Nothing where all together do not fit.
    """
    now = _total(config, stage, on_cpu)
    allowed = [
        (overrides, cost)
        for overrides, cost in _candidates(config, stage, room)
        if not resumed or all(may_change(type(config), key) for key in overrides)
    ]
    alone = [_remedy(config, stage, overrides, cost, on_cpu) for overrides, cost in allowed]
    fitting = tuple(remedy for remedy in alone if remedy and remedy.total <= room and remedy.total < now)
    return fitting or tuple(_together(config, stage, room, on_cpu, allowed))


def advice(config: TrainingConfig, stage: str, room: int, on_cpu: bool | None = None, resumed: bool = False) -> str:
    """Word what to do where a stage does not fit; arguments as of `ways_to_fit`."""
    found = ways_to_fit(config, stage, room, on_cpu, resumed)[:WAYS]
    ways = (f"{' '.join(one.overrides)} ({one.total / 2**30:,.1f} GiB by the plan)" for one in found)
    return (
        f"set {'; or '.join(ways)}"
        if found
        else (
            f"no setting has it fit on trainer.devices={config.trainer.devices} x trainer.num_nodes="
            f"{config.trainer.num_nodes}: divide the model over more devices, or lower "
            f"{seq_length_key(config, stage)}={seq_length(config, stage)}"
        )
    )


def _together(
    config: TrainingConfig, stage: str, room: int, on_cpu: bool | None, candidates: Sequence[tuple[dict[str, Any], str]]
) -> Iterator[Remedy]:
    """Add one change to another, the cheapest first, until they fit; nothing where they do not."""
    own = stage_section(config, stage)
    chosen: dict[str, Any] = {}
    costs: list[str] = []
    least = _total(config, stage, on_cpu)
    for overrides, cost in candidates:
        both = {**chosen, **overrides}
        if overrides.get(f"{own}.activations_checkpoint_granularity") == "full":
            both.pop(f"{own}.recompute_modules", None)
        remedy = _remedy(config, stage, both, "; ".join([*costs, cost]), on_cpu)
        if remedy is None or remedy.total >= least:
            continue
        if remedy.total <= room:
            yield remedy
            return
        chosen, costs, least = both, [*costs, cost], remedy.total


def _remedy(
    config: TrainingConfig, stage: str, overrides: dict[str, Any], cost: str, on_cpu: bool | None
) -> Remedy | None:
    try:
        total = _total(with_changes(config, overrides), stage, on_cpu)
    except UserError:
        return None
    return Remedy(tuple(f"{key}={as_yaml(value)}" for key, value in overrides.items()), cost, total)


def _candidates(config: TrainingConfig, stage: str, room: int) -> Iterator[tuple[dict[str, Any], str]]:
    own = stage_section(config, stage)
    yield {f"{own}.micro_batch_size": _micro_batch_size(config, stage, room)}, "smaller matrices"
    yield {"model.optim.name": "distributed_fused_adam"}, "weights are gathered after every step"
    if config.objective == "next_token":  # another one may need all logits at once, which its own code alone says
        yield {"model.cross_entropy_chunk_size": CHUNK_SIZE}, "one more forward pass of lm_head"
    granularity = f"{own}.activations_checkpoint_granularity"
    selective: dict[str, Any] = {granularity: "selective"}
    if "mlp" not in config.model.recompute_modules:
        selective[f"{own}.recompute_modules"] = ["mlp"]
    yield selective, "one more forward pass of every MLP"
    yield {granularity: "full"}, "one more forward pass of every layer"
    tensor = config.model.tensor_model_parallel_size
    yield {"model.tensor_model_parallel_size": 2 * tensor}, "every layer waits for its group"


def _micro_batch_size(config: TrainingConfig, stage: str, room: int) -> int:
    """The largest below the stage's that divides a device's share of the batch and fits, or 1."""
    planned = Curriculum.from_config(config).stage(stage)
    share = planned.micro_batch_size * planned.num_microbatches
    for size in range(planned.micro_batch_size - 1, 1, -1):
        if share % size == 0 and fullest_device(config, replace(planned, micro_batch_size=size)).total <= room:
            return size
    return 1


def with_changes(config: TrainingConfig, overrides: dict[str, Any]) -> TrainingConfig:
    """Return a config with other values of some dotted keys, checked."""
    plain = config.model_dump()
    for key, value in overrides.items():
        *path, last = key.split(".")
        section = plain
        for name in path:
            section = section[name]
        section[last] = value
    return validate(plain, kind=type(config))


def _total(config: TrainingConfig, stage: str, on_cpu: bool | None) -> int:
    return fullest_device(config, Curriculum.from_config(config).stage(stage), on_cpu).total
