"""What a batch that grows may not be, found before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm

from custom_modules.config.batch import global_batch_tokens, phases_by_stage
from custom_modules.config.rampup import BatchRampup, batch_phases
from custom_modules.config.schema import Config
from custom_modules.config.stage_keys import key_in_stage, seq_length, seq_length_key
from custom_modules.errors import UserError
from custom_modules.text import as_yaml

_KEY = "model.rampup_batch_tokens"


def check_rampup(config: Config) -> None:
    """Refuse a ramp that does not end at the batch or not within the run, that a stage's own batch cuts, or that has a
    batch on the way which sequences, devices or a pipeline do not divide.

    Args:
        config: one that `check_batch` has accepted.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    rampup = config.model.rampup_batch_tokens
    if rampup is None:
        return
    _check_ends(config, rampup)
    _check_own_batches(config, rampup)
    for stage, phase in phases_by_stage(config):
        if why := _undivided(config, stage, phase.batch_tokens):
            raise UserError(
                f"{_KEY}={as_yaml(rampup)}: {stage} has steps of {phase.batch_tokens} tokens, which {why}; "
                f"{_would_do(config, rampup)}"
            )


def _check_ends(config: Config, rampup: BatchRampup) -> None:
    key, whole = f"{_KEY}={as_yaml(rampup)}", config.model.global_batch_tokens
    if rampup.first >= whole:
        raise UserError(
            f"{key}: begins with {rampup.first} tokens, which is not below model.global_batch_tokens={whole}; "
            f"{_would_do(config, rampup)}"
        )
    if (whole - rampup.first) % rampup.increment:
        raise UserError(
            f"{key}: increments of {rampup.increment} do not come out even between {rampup.first} and "
            f"model.global_batch_tokens={whole}; {_would_do(config, rampup)}"
        )
    total = _curriculum_tokens(config)
    if rampup.tokens > total:
        raise UserError(
            f"{key}: ends after {rampup.tokens} tokens, and the curriculum has {total}; {_would_do(config, rampup)}"
        )


def _check_own_batches(config: Config, rampup: BatchRampup) -> None:
    budgets, ends = 0, 0
    for name, stage in config.curriculum.stages.items():
        if ends >= rampup.tokens:
            return
        if stage.global_batch_tokens is not None:
            shorter = f", or end the ramp by then: {_KEY}={as_yaml(rampup._replace(tokens=budgets))}" if budgets else ""
            raise UserError(
                f"{key_in_stage(config, name, 'global_batch_tokens')}={stage.global_batch_tokens}: {name} begins at "
                f"{ends} tokens, inside the ramp of {_KEY}={as_yaml(rampup)}, where it cannot have a batch of its own; "
                f"set it to null{shorter}"
            )
        budgets += stage.tokens
        ends = batch_phases(rampup, global_batch_tokens(config, name), ends, stage.tokens)[-1].end_tokens


def _undivided(config: Config, stage: str, batch: int) -> str | None:
    """Return what does not divide a batch of a stage; None if all does."""
    model, length = config.model, seq_length(config, stage)
    sequences, ranks, group = batch // length, config.data_parallel_size, config.model.micro_batch_group
    if batch % length:
        return f"{seq_length_key(config, stage)}={length} does not divide"
    if sequences % ranks:
        return f"are {sequences} sequences, and data-parallel size = {ranks} does not divide them"
    if sequences // ranks % group:
        chunks = f"model.virtual_pipeline_model_parallel_size={model.virtual_pipeline_model_parallel_size}"
        return f"are {sequences // ranks} sequences a device, and {chunks} takes micro-batches {group} at a time"
    return None


def _would_do(config: Config, rampup: BatchRampup) -> str:
    """Word a ramp as near to the given one as sequences and devices allow."""
    whole = config.model.global_batch_tokens
    unit = lcm(*_lengths(config, rampup)) * config.data_parallel_size * config.model.micro_batch_group
    first = max(1, min(rampup.first, whole - 1) // unit) * unit
    if first >= whole or whole % unit:
        return f"set {_KEY}=null"
    count = (whole - first) // unit
    increments = [unit * number for number in range(1, count + 1) if count % number == 0]
    increment = min(increments, key=lambda size: abs(size - rampup.increment))
    near = BatchRampup(first, increment, min(rampup.tokens, _curriculum_tokens(config)))
    return f"use multiples of {unit} tokens, as {_KEY}={as_yaml(near)}"


def _lengths(config: Config, rampup: BatchRampup) -> Iterator[int]:
    """Yield the sequence lengths of the stages that may begin inside the ramp."""
    budgets = 0
    for name, stage in config.curriculum.stages.items():
        if budgets < rampup.tokens:
            yield seq_length(config, name)
        budgets += stage.tokens


def _curriculum_tokens(config: Config) -> int:
    return sum(stage.tokens for stage in config.curriculum.stages.values())
