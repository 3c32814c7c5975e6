"""``danube teach``: a teacher's share of a run, made beside its prepared data by as many processes as there are."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import torch

from custom_modules.config.schema import Config
from custom_modules.data.manifest import load_manifest
from custom_modules.distillation.rows_writer import check_vocabulary
from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.platform import cpu_threads, gpu_of
from custom_modules.platform.world import World
from custom_modules.training.signals import StopRequest
from data_prep.teach import shards
from data_prep.teach.job import run
from data_prep.teach.parts import distilled_parts, students_tokenizer
from data_prep.teach.rows import RowsJob
from data_prep.teach.teacher import open_teacher


@dataclass(frozen=True)
class TeachOptions:
    """What the command line says beside the config.

    Attributes:
        teacher: its name in ``distillation.teachers``.
        model: its local Hugging Face folder.
        length: tokens that it reads at a time; None: as many as it has positions for.
        shard_tokens: what is done at a time; None: as many as suit.
    """

    teacher: str
    model: Path
    length: int | None = None
    shard_tokens: int | None = None


def teach(config: Config, options: TeachOptions, world: World, stop: StopRequest) -> None:
    """Do this process's share.

    Raises:
        UserError: a mistake in the config, the teacher or the data.
        StoppedBySignal: the same command goes on from the last finished shard.
    """
    known = config.distillation.teachers
    if options.teacher not in known:
        names = ", ".join(known) or "none"
        raise UserError(
            f"--teacher {options.teacher}: not among distillation.teachers ({names}); give one of them, or add "
            f"distillation.teachers.{options.teacher}='{{targets: top_k}}'"
        )
    manifest = load_manifest(config)
    parts = distilled_parts(manifest)
    student = students_tokenizer(manifest)
    check_vocabulary(student.vocab_size)
    folder = open_teacher(options.model)
    device = _device(config, world)

    def between() -> None:
        if stop.received:
            raise StoppedBySignal(
                f"{signal.Signals(stop.received).name}: stopped; the same command goes on from the last finished shard"
            )

    shard_tokens = options.shard_tokens or shards.TOKENS
    job = RowsJob(config, options.teacher, student, folder, options.length, shard_tokens, device)
    run(job, parts, world.rank, world.size, between)


def _device(config: Config, world: World) -> torch.device:
    """What this process computes on; as ``trainer.accelerator`` has it.

    Raises:
        UserError: there is no GPU for it.
    """
    accelerator, count = config.trainer.accelerator, torch.cuda.device_count()
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        torch.set_num_threads(cpu_threads(config))
        return torch.device("cpu")
    if gpu_of(world) >= count:
        raise UserError(
            f"trainer.devices={config.trainer.devices}: this node has {count} GPU(s), none for local rank "
            f"{world.local_rank}; start as many processes as it has, or set trainer.accelerator=cpu"
        )
    return torch.device("cuda", gpu_of(world))
