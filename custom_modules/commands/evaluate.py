"""`danube evaluate`: a suite's tasks on a run or a model's folder, as the reports' tables have them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from custom_modules.commands.options import path, positive
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.evaluation.request import Request
    from custom_modules.evaluation.subject import Subject

DATA = Path("data/evaluation")
_BATCH_SIZE = 8


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of the model, the suite, its data, and the processes."""
    command.add_argument(
        "model", nargs="?", type=path, help="a run's folder, one of its checkpoints, or a Hugging Face folder"
    )
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="values of a run's config that differ")
    command.add_argument(
        "--suite",
        required=True,
        metavar="SUITE",
        help="danube-table1, open-llm-leaderboard, lokilm-table1, a YAML file, or own items as .jsonl; all: ours",
    )
    command.add_argument("--data", type=path, default=DATA, metavar="DIR", help=f"the fetched data; default: {DATA}")
    command.add_argument(
        "--fetch",
        nargs="?",
        type=path,
        const=DATA,
        metavar="DIR",
        help=f"fetch the suite's data sets into a folder, and evaluate nothing; default: {DATA}",
    )
    command.add_argument(
        "--output", type=path, metavar="DIR", help="of the results; default: evaluation/SUITE in the model's folder"
    )
    command.add_argument("--protocol", choices=("paper", "current"), help="default: the suite's own")
    command.add_argument("--tasks", type=_names, metavar="A,B", help="some of the suite's tasks; default: all")
    command.add_argument("--limit", type=positive, metavar="N", help="items of each task; the table says so")
    command.add_argument("--chat-template", action="store_true", help="the folder's own, around every prompt")
    command.add_argument(
        "--export", action="store_true", help="of a run: evaluate its export, made where it is missing"
    )
    command.add_argument(
        "--batch-size",
        type=positive,
        default=_BATCH_SIZE,
        metavar="N",
        help=f"passes that are prepared at a time; changes no result; default: {_BATCH_SIZE}",
    )
    command.add_argument(
        "--devices", type=positive, metavar="N", help="processes to start; default: one a GPU, or one on a CPU"
    )
    command.add_argument("--accelerator", choices=("auto", "gpu", "cpu"), default="auto", help="default: auto")


def run(options: argparse.Namespace) -> int:
    """Fetch, or evaluate in the processes that torchrun or Slurm started, else in one process a device of our own."""
    from custom_modules.evaluation.subject import Folder, Run, open_subject
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.platform.world import World

    if options.fetch is not None:
        return _fetch(options)
    if options.model is None:
        raise UserError("evaluate: which model? give a run or a Hugging Face folder, or --fetch")
    die_with_launcher()
    world = World.from_environment()
    subject: Subject = open_subject(options.model, verify_contents=world.rank == 0 and not _starts_others(options))
    if options.export:
        if not isinstance(subject, Run):
            raise UserError(f"--export: {options.model} is an export already; leave it out")
        subject = Folder(options.model, subject)
    requests = _requests(options)
    if _starts_others(options):
        return _launch(options)
    from custom_modules.commands.processes import traced

    return traced(partial(_evaluate, subject, requests, world.rank), world.size)


def _requests(options: argparse.Namespace) -> list[Request]:
    from custom_modules.evaluation.request import Request
    from custom_modules.tasks.suite import ALL, load_suite, suite_names

    names = suite_names() if options.suite == ALL else [options.suite]
    if options.output is not None and len(names) > 1:
        raise UserError(f"--output {options.output}: of {len(names)} suites; leave it out, or give one suite")
    for name in names:
        load_suite(name)
    of_all = Request(
        suite=options.suite,
        data=options.data,
        output=options.output,
        protocol=options.protocol,
        only=options.tasks,
        limit=options.limit,
        chat_template=options.chat_template,
        batch_size=options.batch_size,
        accelerator=options.accelerator,
        overrides=options.overrides,
    )
    return [replace(of_all, suite=name) for name in names]


def _evaluate(subject: Subject, requests: Sequence[Request], rank: int) -> int:
    from custom_modules.evaluation.evaluate import evaluate
    from custom_modules.evaluation.outcome import TABLE
    from custom_modules.training.signals import stop_requests

    with stop_requests() as stop:
        for output in evaluate(subject, requests, lambda: stop.received):
            if rank == 0:
                print((output / TABLE).read_text(encoding="utf-8"), end="", flush=True)
    return 0


def _starts_others(options: argparse.Namespace) -> bool:
    from custom_modules.platform.world import World

    return not World.from_environment().is_launched and _devices(options) > 1


def _devices(options: argparse.Namespace) -> int:
    """Return how many processes a command that no launcher has started is."""
    from custom_modules.platform.launch import NVIDIA_DRIVER

    if options.devices is not None:
        return int(options.devices)
    if options.accelerator == "cpu" or not NVIDIA_DRIVER.exists():
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def _launch(options: argparse.Namespace) -> int:
    from custom_modules.evaluation.processes import THREADS
    from custom_modules.platform.launch import launch, may_fork

    def import_once() -> partial[int]:
        import custom_modules.evaluation.evaluate  # noqa: F401

        again: partial[int] = options.again
        return again

    fork = import_once if may_fork(options.accelerator) else None
    return launch(_devices(options), options.arguments, THREADS, fork)


def _fetch(options: argparse.Namespace) -> int:
    from custom_modules.tasks.fetch import fetch

    if options.model is not None:
        raise UserError(f"--fetch: fetches, and evaluates nothing; evaluate {options.model} with a second command")
    fetch([options.suite], options.fetch)
    return 0


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
