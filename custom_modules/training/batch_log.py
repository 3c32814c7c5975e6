"""What a run's log says of a stage's batch, and of each phase of one that grows."""

from __future__ import annotations

from collections.abc import Iterator

from custom_modules.config.batch import micro_batch
from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.text import as_yaml


def describe_batch(config: Config, stage: Stage, consumed_tokens: int) -> Iterator[str]:
    """Yield the lines with which a stage begins, or goes on.

    Args:
        consumed_tokens: where the run is.
    """
    if stage.rampup is None:
        batch = _batch(stage)
    else:
        batch = f"{len(stage.phases)} phases of model.rampup_batch_tokens={as_yaml(stage.rampup)}"
    place = f"sample {stage.consumed_samples(consumed_tokens):,} of {stage.num_samples:,}"
    yield f"{stage.name}: {stage.seq_length} tokens a sequence, {batch}; {place}"
    yield f"{stage.name}: micro-batch {micro_batch(config, stage.name).explain()}"


def describe_phase(phase: Stage, number: int, count: int) -> str:
    """Return the line with which a phase begins, or goes on."""
    place = f"phase {number} of {count}, {phase.steps:,} steps to {phase.end_tokens:,} tokens"
    return f"{phase.name}: {place}: {_batch(phase)}"


def _batch(stage: Stage) -> str:
    return (
        f"{stage.global_batch_size} sequences a step = {stage.global_batch_tokens:,} tokens / {stage.seq_length}; "
        f"{stage.num_microbatches} micro-batches of {stage.micro_batch_size} on each of {stage.data_parallel_size} "
        "data-parallel ranks"
    )
