"""Times the steps of a stage in this process, one of those that train it. Collective."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from megatron.core import parallel_state

from custom_modules.bench.stopwatch import Measured, time_steps
from custom_modules.bench.timing import Timing
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.batches import Batch
from custom_modules.data.dali import require_loader
from custom_modules.data.dataset import Dataset, training_dataset
from custom_modules.data.documents import Documents, documents_of, random_documents
from custom_modules.data.layout import MANIFEST
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import load_manifest
from custom_modules.data.random_tokens import RandomTokens
from custom_modules.platform import Platform, from_rank_0
from custom_modules.training.engine import Engine
from custom_modules.training.garbage import collected_between_steps
from custom_modules.training.out_of_memory import STATE, Room


class PretrainingStand:
    """A model and its optimizer in this process, whose steps are timed one batch after another.

    Args:
        config: gives the model and how it is divided.
        first: the stage that is named where not even the model finds room.
        random_tokens: even where data is prepared.

    Needs `Platform.running`.

    Raises:
        UserError: a `NoRoomError` where memory runs out.
    """

    def __init__(self, config: Config, platform: Platform, first: str, random_tokens: bool) -> None:
        self.config, self.platform, self.random_tokens = config, platform, random_tokens
        self.memory_before = platform.memory_bytes()
        curriculum = Curriculum.from_config(config)
        self.room = Room(config, platform)
        with self.room.found(curriculum.stage(first), STATE):
            self.engine = Engine(config, curriculum, platform)
        self.data_parallel_rank = parallel_state.get_data_parallel_rank()

    @contextmanager
    def reading(self, phase: Stage, steps: int) -> Iterator[tuple[Iterator[Batch], str]]:
        """Give the micro-batches of so many steps of a phase, and say where their windows are from.

        Raises:
            UserError: what is prepared does not allow it; a `NoRoomError` where memory runs out meanwhile.
        """
        # As long as it is trained here, so that no more data is asked for.
        stage = replace(phase, token_budget=steps * phase.global_batch_tokens)
        self.engine.set_clock(stage.start_tokens)
        self.platform.forget_peak_memory()
        config, rank, device = self.config, self.data_parallel_rank, self.platform.device
        with _dataset(config, stage, self.random_tokens) as (dataset, source, documents), self.room.found(stage):
            loader = Loader(config.data, config.model.vocab_size, rank, device, documents)
            with loader.open(dataset, stage, range(stage.num_samples)) as batches:
                yield batches, source

    def time(self, batches: Iterator[Batch], steps: Sequence[Stage], warmup: int) -> Measured:
        """Train steps on what `reading` gives, and measure those behind the first few. Collective."""
        with collected_between_steps(self.config.model.gc_interval) as garbage:
            opened = nullcontext(batches)
            return time_steps(self.platform, self.engine, opened, steps, warmup, garbage, self.memory_before)


def time_stages(
    config: Config, names: tuple[str, ...], warmup: int, steps: int, random_tokens: bool
) -> Iterator[Timing]:
    """Train ``warmup + steps`` steps of each stage, in each phase of it, one after the other, and keep nothing.

    Args:
        names: of the stages.
        random_tokens: even where data is prepared.

    Raises:
        UserError: the platform, the data or the config does not allow it; a `NoRoomError` where memory runs out.
    """
    platform = Platform.detect(config)
    require_loader(config)
    curriculum = Curriculum.from_config(config)
    with platform.running(config):
        stand = PretrainingStand(config, platform, names[0], random_tokens)
        for phase in (phase for name in names for phase in curriculum.stage(name).phases):
            with stand.reading(phase, warmup + steps) as (batches, source):
                found = stand.time(batches, [phase] * (warmup + steps), warmup)
            yield timing_of(platform, phase, source, found)


def timing_of(platform: Platform, phase: Stage, source: str, found: Measured) -> Timing:
    """Return what was measured of whole steps of a phase.

    Args:
        source: where the windows came from.
    """
    return Timing(
        device=platform.device_name,
        data=source,
        seq_length=phase.seq_length,
        mean_length=phase.seq_length,
        tokens=(phase.global_batch_tokens,) * len(found.seconds),
        seconds=found.seconds,
        loader_seconds=found.loader_seconds,
        memory_bytes=found.memory_bytes,
    )


@contextmanager
def _dataset(config: Config, stage: Stage, random_tokens: bool) -> Iterator[tuple[Dataset, str, Documents | None]]:
    """The stage's prepared windows, with an index that is removed again; random ones where nothing is prepared.

    Beside them what they are, and what their documents have to do with each other.
    """
    if random_tokens or not (Path(config.data.dir) / MANIFEST).is_file():
        yield RandomTokens(stage.seq_length, config.model.vocab_size), "random", random_documents(config)
        return
    manifest = load_manifest(config)
    # Every node has to read it.
    shared = config.run_dir.parent if config.trainer.num_nodes > 1 else Path(tempfile.gettempdir())
    cache = Path(from_rank_0(str(shared / f".bench-{uuid.uuid4().hex}")))
    try:
        documents = documents_of(config, manifest.eos_id)
        yield training_dataset(config, manifest, stage, cache), "prepared", documents
    finally:
        if torch.distributed.get_rank() == 0:
            shutil.rmtree(cache, ignore_errors=True)
