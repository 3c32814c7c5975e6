"""NeMo's keys of what a stage's backward pass recomputes, resolved and checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.config.model_parts import Granularity, Method
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stage_keys import key_in_stage, value_in_stage
from custom_modules.errors import UserError
from custom_modules.text import as_yaml


@dataclass(frozen=True)
class Recompute:
    """megatron-core's ``recompute_*`` settings of one stage."""

    granularity: Granularity | None = None
    method: Method | None = None
    """How full recomputation goes: every group of ``num_layers`` layers, or the first ``num_layers`` of each pipeline
    rank."""
    num_layers: int = 0
    modules: tuple[str, ...] = ()
    """What selective recomputation leaves out: core_attn, mlp."""


def stage_recompute(config: TrainingConfig, stage: str) -> Recompute:
    """A stage's own keys, else the model's; full alone is uniform, a layer at a time."""
    granularity = value_in_stage(config, stage, "activations_checkpoint_granularity")
    if granularity == "selective":
        return Recompute("selective", modules=tuple(value_in_stage(config, stage, "recompute_modules")))
    if granularity == "full":
        method: Method = value_in_stage(config, stage, "activations_checkpoint_method") or "uniform"
        num_layers = value_in_stage(config, stage, "activations_checkpoint_num_layers")
        return Recompute("full", method, num_layers or 1)
    return Recompute()


def check_recompute(config: TrainingConfig) -> None:
    """Refuse keys that nothing reads, and layers that cannot be grouped.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    stages = list(config.stages)
    needs = {
        "activations_checkpoint_method": "full",
        "activations_checkpoint_num_layers": "full",
        "recompute_modules": "selective",
    }
    granularities = {stage: stage_recompute(config, stage).granularity for stage in stages}
    for name, needed in needs.items():
        for key, value, readers in _given(config, name):
            if all(granularities[stage] != needed for stage in readers):
                section = key.rpartition(".")[0]
                raise UserError(
                    f"{key}={as_yaml(value)}: only {section}.activations_checkpoint_granularity={needed} reads it; "
                    f"set that, or {key}=null"
                )
    for stage in stages:
        _check_stage(config, stage, stage_recompute(config, stage))


def _check_stage(config: TrainingConfig, stage: str, recompute: Recompute) -> None:
    if recompute.granularity != "full":
        return
    model = config.model
    chunks = model.virtual_pipeline_model_parallel_size or 1
    layers = model.num_layers // (model.pipeline_model_parallel_size * chunks)
    where = "pipeline rank" if chunks == 1 else "model chunk"
    key = key_in_stage(config, stage, "activations_checkpoint_num_layers")
    value = value_in_stage(config, stage, "activations_checkpoint_num_layers")
    if recompute.method == "block" and value is None:
        raise UserError(f"{key}=null: block recomputes the first layers of a {where}; say how many of its {layers}")
    if recompute.method == "uniform" and layers % recompute.num_layers:
        raise UserError(
            f"{key}={value}: uniform groups of layers must divide the {layers} of a {where}; use a divisor of {layers}"
        )
    if recompute.num_layers > layers:
        raise UserError(f"{key}={value}: a {where} has {layers} layers; use at most {layers}")


def _given(config: TrainingConfig, name: str) -> Iterator[tuple[str, object, list[str]]]:
    """Each key of that name that is set, its value, and the stages that it is for."""
    stages = config.stages
    for stage, keys in stages.items():
        if getattr(keys, name) is not None:
            yield f"curriculum.stages.{stage}.{name}", getattr(keys, name), [stage]
    # The model's modules are never null, and wait for a granularity.
    if name != "recompute_modules" and getattr(config.model, name) is not None:
        yield f"model.{name}", getattr(config.model, name), list(stages)
