"""What ``trainer.evaluate`` takes of a run's time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.plan.flops import ALL_SEEN, Pairs, flops_per_sequence
from custom_modules.tasks.sizes import documents_of

TOKENS_A_DOCUMENT = 8_400_000 / 38_409
"""The mean of Danube's Table 1, all choices of a document together, as counted with a vocabulary of 32,000."""

_LENGTH = 128
"""Tokens of a row that FLOPs of such documents are counted with."""


@dataclass(frozen=True)
class TaskPlan:
    """The scorings that a run has still before it."""

    times: int
    share: float
    """Of the FLOPs that are left, those of the scorings among them."""


@dataclass(frozen=True)
class ExpectedTasks(TaskPlan):
    """All scorings of a run, before its tasks' data is looked at."""

    tasks: tuple[str, ...]
    documents: int
    """Of one scoring, at most."""
    tokens: int
    """Of one scoring, about."""


def expect_tasks(config: Config, pairs: Pairs = ALL_SEEN) -> ExpectedTasks | None:
    """Plan the scorings of a whole run by the sizes of known data sets and by `TOKENS_A_DOCUMENT`.

    Args:
        pairs: that attention sees in training.

    Returns:
        None where there are none, or a task's documents are not known.
    """
    options = config.trainer.evaluate
    if options is None:
        return None
    found = [documents_of(task, options.limit) for task in options.tasks]
    documents = [number for number in found if number is not None]
    if len(documents) < len(found):
        return None
    tokens = round(sum(documents) * TOKENS_A_DOCUMENT)
    plan = plan_tasks(config, 0, scoring_flops(config, -(-tokens // _LENGTH), _LENGTH), pairs)
    return ExpectedTasks(plan.times, plan.share, tuple(options.tasks), sum(documents), tokens)


def plan_tasks(config: Config, consumed_tokens: int, flops: int, pairs: Pairs = ALL_SEEN) -> TaskPlan:
    """Plan the scorings of a run that is at so many tokens.

    Args:
        flops: of one scoring, as `scoring_flops` counts them.
        pairs: that attention sees in training.
    """
    times = len([*scorings(config, consumed_tokens)])
    stages = Curriculum.from_config(config).stages
    left = sum(_samples_left(stage, consumed_tokens) * _per_sample(config, stage, pairs) for stage in stages)
    return TaskPlan(times, times * flops / (times * flops + left) if times else 0.0)


def scorings(config: Config, consumed_tokens: int = 0) -> Iterator[int]:
    """Yield the tokens at which tasks are scored behind ``consumed_tokens``: where a step passes a multiple of
    ``every_n_tokens`` or ends a stage; and before the first step of all."""
    options = config.trainer.evaluate
    if options is None:
        return
    if not consumed_tokens:
        yield 0
    for stage in Curriculum.from_config(config).stages:
        for phase in stage.phases:
            yield from _of_phase(phase, options.every_n_tokens, consumed_tokens, stage.end_tokens)


def scoring_flops(config: Config, sequences: int, length: int) -> int:
    """Return the FLOPs of forward passes of so many sequences."""
    return sequences * flops_per_sequence(config.model, length) // 3


def _of_phase(phase: Stage, every: int, consumed_tokens: int, stage_end: int) -> Iterator[int]:
    """Yield the tokens of one batch size, each at the end of a step, in their order."""
    batch = phase.global_batch_tokens
    multiple = (max(consumed_tokens, phase.start_tokens) // every + 1) * every
    while multiple <= phase.end_tokens:
        step = -(-(multiple - phase.start_tokens) // batch)
        tokens = phase.start_tokens + step * batch
        if tokens != stage_end:
            yield tokens
        multiple = (tokens // every + 1) * every
    if phase.end_tokens == stage_end > consumed_tokens:
        yield stage_end


def _samples_left(stage: Stage, consumed_tokens: int) -> int:
    return stage.num_samples - stage.consumed_samples(min(max(consumed_tokens, stage.start_tokens), stage.end_tokens))


def _per_sample(config: Config, stage: Stage, pairs: Pairs) -> int:
    return flops_per_sequence(config.model, stage.seq_length, pairs.get(stage.name))
