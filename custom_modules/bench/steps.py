"""Times the steps of a stage in this process, one of those that train it. Collective."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from megatron.core import parallel_state

from custom_modules.bench.stopwatch import time_steps
from custom_modules.bench.timing import Timing
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
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
        before = platform.memory_bytes()
        room = Room(config, platform)
        with room.found(curriculum.stage(names[0]), STATE):
            engine = Engine(config, curriculum, platform)
        rank = parallel_state.get_data_parallel_rank()
        for phase in (phase for name in names for phase in curriculum.stage(name).phases):
            # As long as it is trained here, so that no more data is asked for.
            stage = replace(phase, token_budget=(warmup + steps) * phase.global_batch_tokens)
            engine.set_clock(stage.start_tokens)
            platform.forget_peak_memory()
            with (
                _dataset(config, stage, random_tokens) as (dataset, source, documents),
                collected_between_steps(config.model.gc_interval) as garbage,
                room.found(stage),
            ):
                loader = Loader(config.data, config.model.vocab_size, rank, platform.device, documents)
                opened = loader.open(dataset, stage, range(stage.num_samples))
                found = time_steps(platform, engine, opened, [stage] * stage.steps, warmup, garbage, before)
            yield Timing(
                device=platform.device_name,
                data=source,
                seq_length=stage.seq_length,
                mean_length=stage.seq_length,
                tokens=(stage.global_batch_tokens,) * steps,
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
