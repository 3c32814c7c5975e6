"""Measures trials in this process, one of those that train them, for as long as they are of one setting. Collective."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil

from custom_modules.bench.search.records import Measured, Records
from custom_modules.bench.search.trials import MOST_STEPS, Trial
from custom_modules.bench.steps import PretrainingStand, timing_of
from custom_modules.bench.stopwatch import Measured as Steps
from custom_modules.bench.timing import Timing
from custom_modules.bench.tuning_steps import TuningStand
from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.dali import require_loader
from custom_modules.platform import Platform, from_rank_0

SECONDS = 1.5
"""What the measured steps of a trial take together, about."""
FEWEST = 3
"""Steps that are measured at least, or pairs of short ones."""


def measure_trials(
    first: Trial,
    records: Records,
    next_trial: Callable[[], Trial | None],
    config_of: Callable[[Trial], TrainingConfig],
    random_tokens: bool,
    begun: float,
    told: Callable[[Measured], None],
) -> None:
    """Measure one trial after another, until one is of another setting or there is none. Collective.

    Args:
        first: the first of them.
        records: take what is measured, on every rank; on rank 0 it is put on the disk.
        next_trial: says what is to be measured, by the records; the same on every rank.
        config_of: gives a trial's config.
        random_tokens: even where data is prepared.
        begun: `time.time` when the search had taken no time, on rank 0.
        told: is told of each measurement, on rank 0.

    Raises:
        UserError: a trial cannot be measured; a `NoRoomError` where memory runs out.
    """
    config = config_of(first)
    platform = Platform.detect(config)
    if isinstance(config, Config):
        require_loader(config)
    with platform.running(config), _stand(config, platform, first.stage, random_tokens) as time_trial:
        while (trial := next_trial()) is not None and trial.setting == first.setting:
            timing = time_trial(config_of(trial), trial.stage)
            spent = from_rank_0(time.time() - begun)
            measured = Measured(trial, timing, None, None, spent)
            if platform.world.rank == 0:
                records.add(measured)
                told(measured)
            else:
                records.measured.append(measured)


@contextmanager
def _stand(
    config: TrainingConfig, platform: Platform, stage: str, random_tokens: bool
) -> Iterator[Callable[[TrainingConfig, str], Timing]]:
    """Build the model once; give what times a stage of a config with other micro-batches."""
    if isinstance(config, SftConfig):
        tuning = TuningStand(config, platform, random_tokens)
        yield lambda config, stage: _time_tuning(tuning, config)
        return
    assert isinstance(config, Config), "of the kinds of run there are"
    pretraining = PretrainingStand(config, platform, stage, random_tokens)
    yield lambda config, stage: _time_phase(pretraining, Curriculum.from_config(config).stage(stage).phases[-1])


def _time_tuning(stand: TuningStand, config: TrainingConfig) -> Timing:
    assert isinstance(config, SftConfig)
    once = stand.time(config, warmup=0, steps=1)
    return stand.time(config, warmup=0, steps=_repetitions(once.seconds))


def _time_phase(stand: PretrainingStand, phase: Stage) -> Timing:
    """Time steps of a phase, by themselves or by `step_lengths`."""
    lengths = step_lengths(phase, stand.config.model.pipeline_model_parallel_size)
    pair = [_with_microbatches(phase, number) for number in lengths]
    unit = _with_microbatches(phase, sum(lengths))
    with stand.reading(unit, 1 + MOST_STEPS) as (batches, source):
        once = stand.time(batches, pair, warmup=0)
        found = stand.time(batches, pair * _repetitions(once.seconds), warmup=0)
    whole = Steps(
        seconds=tuple(_whole_steps(found.seconds, lengths, phase.num_microbatches)),
        loader_seconds=tuple(_whole_steps(found.loader_seconds, lengths, phase.num_microbatches)),
        memory_bytes=max(once.memory_bytes, found.memory_bytes),
    )
    return timing_of(stand.platform, phase, source, whole)


def step_lengths(phase: Stage, pipeline: int) -> tuple[int, ...]:
    """Return the micro-batches of the steps that are measured in turn: one number, a step's own, or two smaller ones.

    What a step takes beyond its first micro-batches grows by the same with each of them, in a full pipeline too: two
    short steps tell what a long one takes.

    Args:
        pipeline: ranks of the pipeline, which take so many micro-batches to be full.
    """
    few = max(2, pipeline)
    return (few, 2 * few) if phase.num_microbatches > 3 * few else (phase.num_microbatches,)


def _with_microbatches(phase: Stage, number: int) -> Stage:
    return replace(
        phase,
        global_batch_tokens=number * phase.micro_batch_size * phase.data_parallel_size * phase.seq_length,
        rampup=None,
    )


def _repetitions(seconds: tuple[float, ...]) -> int:
    return min(MOST_STEPS, max(FEWEST, ceil(SECONDS / sum(seconds))))


def _whole_steps(seconds: tuple[float, ...], lengths: tuple[int, ...], number: int) -> Iterator[float]:
    """Yield what a step of so many micro-batches takes, by each step that was measured, or each of the longer ones and
    the fastest of the shorter."""
    if len(lengths) == 1:
        yield from seconds
        return
    few, more = lengths
    short = min(seconds[::2])
    for long in seconds[1::2]:
        yield max(long, short + (number - few) * (long - short) / (more - few))
