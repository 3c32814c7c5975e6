"""Times the steps of a fine-tuning run in this process, one of those that train them. Collective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path

from megatron.core import parallel_state

from custom_modules.bench.stopwatch import time_steps
from custom_modules.bench.timing import Timing
from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum
from custom_modules.data.conversations import load_conversations
from custom_modules.data.layout import MANIFEST
from custom_modules.data.random_tokens import RandomSamples
from custom_modules.data.sample_batches import SampleLoader, Samples
from custom_modules.data.sample_steps import SampleSteps
from custom_modules.platform import Platform
from custom_modules.training.engine import Engine
from custom_modules.training.garbage import collected_between_steps
from custom_modules.training.out_of_memory import STATE, Room


def time_tuning(config: SftConfig, warmup: int, steps: int, random_tokens: bool) -> Iterator[Timing]:
    """Train ``warmup + steps`` steps, and keep nothing: those that the run begins with, over and over.

    Where nothing is prepared, samples are random, and all of the greatest length.

    Args:
        random_tokens: even where samples are prepared.

    Raises:
        UserError: the platform, the data or the config does not allow it; a `NoRoomError` where memory runs out.
    """
    platform = Platform.detect(config)
    [longest] = Curriculum.from_config(config).stages
    samples, schedule, pad_id, source = _samples(config, warmup + steps, random_tokens)
    chosen = list(islice(chain.from_iterable(schedule.from_step(0) for _ in count()), warmup + steps))
    length = max(step.seq_length for step in chosen)
    stage = replace(longest, seq_length=length, global_batch_tokens=length * longest.global_batch_size)
    with platform.running(config):
        before = platform.memory_bytes()
        room = Room(config, platform)
        with room.found(longest, STATE):
            engine = Engine(config, schedule, platform)
        rank = parallel_state.get_data_parallel_rank()
        prefetch = config.data.prefetch_factor
        loader = SampleLoader(pad_id, config.model.vocab_size, rank, platform.device, prefetch)
        platform.forget_peak_memory()
        with collected_between_steps(config.model.gc_interval) as garbage, room.found(stage):
            opened = loader.open(samples, chosen)
            found = time_steps(platform, engine, opened, chosen, warmup, garbage, before)
        tokens = tuple(step.global_batch_tokens for step in chosen[warmup:])
        yield Timing(
            device=platform.device_name,
            data=source,
            seq_length=length,
            mean_length=sum(tokens) / sum(len(step.real_samples) for step in chosen[warmup:]),
            tokens=tokens,
            seconds=found.seconds,
            loader_seconds=found.loader_seconds,
            memory_bytes=found.memory_bytes,
        )


def _samples(config: SftConfig, steps: int, random_tokens: bool) -> tuple[Samples, SampleSteps, int, str]:
    """Return what is trained on, its steps, the token that pads it, and where it is from."""
    if random_tokens or not (Path(config.data.dir) / MANIFEST).is_file():
        model = config.model
        random = RandomSamples(steps * model.global_batch_size, model.encoder_seq_length, model.vocab_size)
        return random, SampleSteps(config, random.lengths), 0, "random"
    conversations = load_conversations(config)
    train = conversations.train
    return train, SampleSteps(config, train.lengths), conversations.pad_id, "prepared"
