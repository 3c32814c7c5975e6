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
from custom_modules.data.conversations import Samples, load_conversations
from custom_modules.data.layout import MANIFEST
from custom_modules.data.random_tokens import RandomSamples
from custom_modules.data.sample_batches import SampleLoader
from custom_modules.data.sample_steps import SampleSteps
from custom_modules.platform import Platform
from custom_modules.training.engine import Engine
from custom_modules.training.garbage import collected_between_steps
from custom_modules.training.out_of_memory import STATE, Room


class TuningStand:
    """A model and its optimizer in this process, whose steps of fine-tuning are timed.

    Where nothing is prepared, samples are random, and all of the greatest length.

    Args:
        config: gives the model and how it is divided.
        random_tokens: even where samples are prepared.

    Needs `Platform.running`.

    Raises:
        UserError: the data does not allow it; a `NoRoomError` where memory runs out.
    """

    def __init__(self, config: SftConfig, platform: Platform, random_tokens: bool) -> None:
        self.platform = platform
        self.samples, self.pad_id, self.source = _samples(config, random_tokens)
        self.memory_before = platform.memory_bytes()
        with Room(config, platform).found(Curriculum.from_config(config).stages[0], STATE):
            self.engine = Engine(config, SampleSteps(config, self.samples.lengths), platform)

    def time(self, config: SftConfig, warmup: int, steps: int) -> Timing:
        """Train ``warmup + steps`` steps: those that the run begins with, over and over. Collective.

        Args:
            config: may have another micro-batch, and recompute other parts, than the one of the model.
        """
        platform = self.platform
        [longest] = Curriculum.from_config(config).stages
        schedule = SampleSteps(config, self.samples.lengths)
        chosen = list(islice(chain.from_iterable(schedule.from_step(0) for _ in count()), warmup + steps))
        length = max(step.seq_length for step in chosen)
        stage = replace(longest, seq_length=length, global_batch_tokens=length * longest.global_batch_size)
        rank = parallel_state.get_data_parallel_rank()
        prefetch = config.data.prefetch_factor
        loader = SampleLoader(self.pad_id, config.model.vocab_size, rank, platform.device, prefetch)
        self.engine.set_clock(0)
        platform.forget_peak_memory()
        room = Room(config, platform)
        with collected_between_steps(config.model.gc_interval) as garbage, room.found(stage):
            opened = loader.open(self.samples, chosen)
            found = time_steps(platform, self.engine, opened, chosen, warmup, garbage, self.memory_before)
        tokens = tuple(step.global_batch_tokens for step in chosen[warmup:])
        return Timing(
            device=platform.device_name,
            data=self.source,
            seq_length=length,
            mean_length=sum(tokens) / sum(len(step.real_samples) for step in chosen[warmup:]),
            tokens=tokens,
            seconds=found.seconds,
            loader_seconds=found.loader_seconds,
            memory_bytes=found.memory_bytes,
        )


def time_tuning(config: SftConfig, warmup: int, steps: int, random_tokens: bool) -> Iterator[Timing]:
    """Train ``warmup + steps`` steps, and keep nothing, as `TuningStand.time` has it.

    Args:
        random_tokens: even where samples are prepared.

    Raises:
        UserError: the platform, the data or the config does not allow it; a `NoRoomError` where memory runs out.
    """
    platform = Platform.detect(config)
    with platform.running(config):
        yield TuningStand(config, platform, random_tokens).time(config, warmup, steps)


def _samples(config: SftConfig, random_tokens: bool) -> tuple[RandomSamples | Samples, int, str]:
    """Return what is trained on, the token that pads it, and where it is from."""
    if random_tokens or not (Path(config.data.dir) / MANIFEST).is_file():
        model = config.model
        # An epoch of a step: it is read over and over.
        return RandomSamples(model.global_batch_size, model.encoder_seq_length, model.vocab_size), 0, "random"
    conversations = load_conversations(config)
    return conversations.train, conversations.pad_id, "prepared"
