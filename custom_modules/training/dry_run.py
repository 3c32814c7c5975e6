"""A pass of every stage to come before the first step, so that what does not fit a device is known in the first minute.

It has the run's own shapes, kernels and schedule, the optimizer's moments in place, and random tokens; where the run
has teachers, those of a distilled step too. All that it
changes is put back: the run after it is the one without it, bit for bit on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from megatron.core import parallel_state
from megatron.core.optimizer import MegatronOptimizer

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Stage
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import Dataset
from custom_modules.data.documents import random_documents
from custom_modules.data.random_targets import RandomTargets
from custom_modules.data.random_tokens import RandomAnswers, RandomTokens
from custom_modules.objective import ANSWERS
from custom_modules.plan.memory import fullest_device, fullest_phase
from custom_modules.platform import Platform
from custom_modules.training.engine import Engine
from custom_modules.training.optimizer import parts
from custom_modules.training.out_of_memory import STATE, Room
from custom_modules.training.undisturbed import undisturbed

GIB = 2**30


def is_asked_for(config: TrainingConfig, platform: Platform) -> bool:
    """Tell whether ``trainer.dry_run`` asks for it on this platform."""
    asked = config.trainer.dry_run
    return platform.accelerator == "gpu" if asked == "auto" else bool(asked)


def dry_run(
    engine: Engine,
    stages: Sequence[Stage],
    platform: Platform,
    bytes_before: int,
    say: Callable[[str], None],
    resumed: bool = False,
) -> None:
    """Pass micro-batches of each stage forward and back, and leave the engine as it was. Collective.

    Where a stage's batch grows, they are of its fullest phase.

    Stages are passed in their order, since kernels are compiled for the shapes in the order they are met.

    Args:
        engine: with its weights, and with its optimizer's state where it goes on from a checkpoint.
        bytes_before: what `Platform.memory_bytes` was before the engine was built, of which no plan knows.
        say: is given a line for each stage: the memory of the fullest device, and the plan's figure.
        resumed: the run goes on from a checkpoint.

    Raises:
        NoRoomError: a stage does not fit this process's device.
    """
    room = Room(engine.config, platform, resumed)
    with _put_back(engine), _moments_in_place(engine.optimizer, room, stages[0]):
        for stage in stages:
            begun = time.monotonic()
            platform.forget_peak_memory()
            phase = fullest_phase(engine.config, stage, on_cpu=_is_local(platform))
            with room.found(phase):
                _pass(engine, phase)
            platform.synchronize()
            peak = _of_the_fullest(platform.peak_memory_bytes() - bytes_before, engine)
            say(
                f"dry run of {stage.name}: {peak / GIB:,.2f} GiB on the fullest device, by the plan "
                f"{_planned(engine.config, platform, stage) / GIB:,.2f}; {time.monotonic() - begun:.1f} s"
            )
            engine.zero_gradients()
            platform.release_memory()
    platform.release_memory()
    platform.forget_peak_memory()


def _datasets(config: TrainingConfig, stage: Stage) -> Iterator[Dataset]:
    """Yield random windows, and where the run has teachers such as their batches are of."""
    length, vocab_size, distillation = stage.seq_length, config.model.vocab_size, config.teaching
    yield RandomAnswers(length, vocab_size) if config.objective == ANSWERS else RandomTokens(length, vocab_size)
    if distillation and distillation.teachers:
        yield RandomTargets(length, vocab_size, distillation)


def _pass(engine: Engine, stage: Stage) -> None:
    count, vocab_size = _micro_batches(engine.config, stage), engine.config.model.vocab_size
    rank = parallel_state.get_data_parallel_rank()
    samples = count * stage.micro_batch_size * stage.data_parallel_size
    documents = random_documents(engine.config)
    for dataset in _datasets(engine.config, stage):
        batches = micro_batches(dataset, stage, 0, samples, rank, vocab_size, documents)
        engine.forward_backward(batches, stage, count)


def _micro_batches(config: TrainingConfig, stage: Stage) -> int:
    """Return how many micro-batches reach the fullest moment of a step.

    One does, but for a pipeline, whose first rank keeps several, and for FSDP, which has no gradients before the first
    backward pass.
    """
    model = config.model
    pipeline = model.pipeline_model_parallel_size
    enough = 2 * pipeline if model.virtual_pipeline_model_parallel_size else max(pipeline, 2 if model.fsdp else 1)
    return min(enough, stage.num_microbatches)


@contextmanager
def _put_back(engine: Engine) -> Iterator[None]:
    with undisturbed(engine):
        try:
            yield
        finally:
            engine.zero_gradients()


@contextmanager
def _moments_in_place(optimizer: MegatronOptimizer, room: Room, stage: Stage) -> Iterator[None]:
    """Give parameters without moments such of zeros meanwhile: an optimizer makes its own in its first step."""
    made = [
        (part.optimizer.state, parameter)
        for part in parts(optimizer)
        for group in part.optimizer.param_groups
        for parameter in group["params"]
        if parameter not in part.optimizer.state
    ]
    try:
        with room.found(stage, STATE):
            for part in parts(optimizer):
                part.init_state_fn(part.optimizer, part.config)
        yield
    finally:
        for state, parameter in made:
            state.pop(parameter, None)


def _planned(config: TrainingConfig, platform: Platform, stage: Stage) -> int:
    return fullest_device(config, stage, on_cpu=_is_local(platform)).total


def _is_local(platform: Platform) -> bool:
    """Tell whether megatron-core's own layers compute, as on a CPU."""
    return not platform.kernels.transformer_engine


def _of_the_fullest(peak: int, engine: Engine) -> int:
    fullest = torch.tensor([peak], dtype=torch.int64, device=engine.device)
    torch.distributed.all_reduce(fullest, op=torch.distributed.ReduceOp.MAX)
    return int(fullest.item())
