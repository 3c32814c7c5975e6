"""``danube teach``: a teacher's share of a run, made beside its prepared data by as many processes as there are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from custom_modules.config.distillation import DistillationConfig
from custom_modules.config.schema import Config
from custom_modules.data.manifest import load_manifest
from custom_modules.distillation.rows_writer import check_vocabulary
from custom_modules.errors import OwnShareError, StoppedBySignal, UserError
from custom_modules.platform import cpu_threads, gpu_of
from custom_modules.platform.launch import check_single_node, launch
from custom_modules.platform.world import World
from custom_modules.text import say
from custom_modules.tokenizer import Tokenizer
from custom_modules.training.signals import StopRequest
from data_prep.clean.build import build_steps
from data_prep.steps.decontaminate import NAME as DECONTAMINATE
from data_prep.steps.decontaminate import Decontaminate
from data_prep.teach import shards
from data_prep.teach.answered import AnsweredRows
from data_prep.teach.answers import Answers, AnswersWriter, write_prompts
from data_prep.teach.drawn import Sampling
from data_prep.teach.job import Job, run
from data_prep.teach.parts import distilled_parts, students_tokenizer
from data_prep.teach.rows import RowsJob
from data_prep.teach.score import ModelScores
from data_prep.teach.teacher import open_teacher
from data_prep.teach.texts import TextsJob
from data_prep.teach.vocabulary import byte_vocabulary
from data_prep.teach.written import ModelWriter


@dataclass(frozen=True)
class TeachOptions:
    """What the command line says beside the config.

    Attributes:
        teacher: its name in ``distillation.teachers``.
        model: its local Hugging Face folder.
        texts: have it write texts, and not score those that are there.
        answers: files of an API's answers, in the place of a model.
        prompts: a file to write what an API is to continue into.
        length: tokens that it reads at a time; None: as many as it has positions for.
        shard_tokens: what is done at a time; None: as many as suit.
        temperature, top_p: of the texts it writes.
    """

    teacher: str
    model: Path | None = None
    texts: bool = False
    answers: Sequence[Path] = ()
    prompts: Path | None = None
    length: int | None = None
    shard_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0


def teach(config: Config, options: TeachOptions, arguments: Sequence[str], stop: StopRequest) -> int:
    """Do this process's share, or start a process a device where no launcher has, and return the exit code.

    Args:
        arguments: of the command line, for those processes.

    Raises:
        UserError: a mistake in the config, the teacher or the data.
        StoppedBySignal: the same command goes on from the last finished shard.
    """
    world = World.from_environment()
    distillation = _check(config, options)
    manifest = load_manifest(config)
    parts = distilled_parts(manifest)
    student = students_tokenizer(manifest)
    if options.prompts:
        write_prompts(options.prompts, parts, byte_vocabulary(student, "data.dir"), distillation.prefix_tokens)
        return 0
    starts_others = not world.is_launched and config.trainer.world_size > 1 and not options.answers
    make = _job(config, options, distillation, student)
    if starts_others:
        check_single_node(config.trainer.num_nodes)
        return launch(config.trainer.devices, arguments, cpu_threads(config))
    job = make(_device(config, world))

    def between() -> None:
        if stop.received:
            raise StoppedBySignal(
                f"{signal.Signals(stop.received).name}: stopped; the same command goes on from the last finished shard"
            )

    try:
        run(job, parts, world.rank, world.size, between)
    except UserError as error:
        # The other processes have other shards, and do not know.
        raise OwnShareError(str(error)) from error
    return 0


def _job(
    config: Config, options: TeachOptions, distillation: DistillationConfig, student: Tokenizer
) -> Callable[[torch.device], Job]:
    """Look at the teacher, and return what makes its work on a device.

    Raises:
        UserError: the teacher is none.
    """
    name = options.teacher
    if distillation.teachers[name].targets == "top_k":
        check_vocabulary(student.vocab_size)
        tokens, k = options.shard_tokens or shards.TOKENS, distillation.top_k
        if options.answers:
            answered = AnsweredRows(Answers(options.answers), student, k)
            return lambda device: RowsJob(config, name, answered, k, tokens)
        scorer = open_teacher(_model(options))
        return lambda device: RowsJob(config, name, ModelScores(scorer, student, options.length, k, device), k, tokens)
    step = _decontaminate(config)
    words = (distillation.prefix_tokens, step, options.shard_tokens or shards.TEXT_TOKENS)
    if options.answers:
        writer = AnswersWriter(Answers(options.answers), distillation.tries)
        return lambda device: TextsJob(config, name, student, writer, *words)
    sampling = Sampling(options.temperature, options.top_p)
    folder = open_teacher(_model(options))
    return lambda device: TextsJob(
        config, name, student, ModelWriter(folder, options.length, sampling, distillation.tries, device), *words
    )


def _model(options: TeachOptions) -> Path:
    if options.model is None:
        raise UserError("danube teach: no MODEL; give the teacher's local folder, or --import FILE with its answers")
    return options.model


def _decontaminate(config: Config) -> Decontaminate | None:
    """Return the step that the data went through, which texts go through too; None where it was off."""
    chosen = {name: options for name, options in config.data.steps.chosen.items() if name == DECONTAMINATE}
    steps = build_steps(chosen).alone
    if not steps:
        say(f"warning: data.steps.{DECONTAMINATE} is off, so teachers' texts are not looked through for benchmarks")
        return None
    assert isinstance(steps[0], Decontaminate)
    return steps[0]


def _check(config: Config, options: TeachOptions) -> DistillationConfig:
    """Return what the config says of teachers.

    Raises:
        UserError: the config knows no such teacher, or takes something else of it.
    """
    distillation = config.distillation
    known = distillation.teachers if distillation else {}
    if distillation is None or options.teacher not in known:
        names = ", ".join(known) or "none"
        raise UserError(
            f"--teacher {options.teacher}: not among distillation.teachers ({names}); give one of them, or set "
            f"distillation.teachers.{options.teacher}={{targets: top_k}}"
        )
    targets = known[options.teacher].targets
    wants_texts = options.texts or options.prompts is not None
    if wants_texts and targets == "top_k":
        raise UserError(
            f"distillation.teachers.{options.teacher}.targets=top_k: --texts and --prompts are for a teacher of texts; "
            "leave them out, or set it to text"
        )
    if not wants_texts and not options.answers and targets == "text":
        raise UserError(
            f"distillation.teachers.{options.teacher}.targets=text: give --texts and a MODEL, or --import FILE with "
            "its answers"
        )
    if options.temperature <= 0 or not 0 < options.top_p <= 1:
        raise UserError(
            f"--temperature {options.temperature} --top-p {options.top_p}: give a temperature above 0, and a share of "
            "at most 1"
        )
    return distillation


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
