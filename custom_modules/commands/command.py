"""One command of the table, and what the command line has in common for all."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

EPILOG = """\
Values are overridden as with NeMo: KEY=VALUE, for example trainer.devices=8 model.micro_batch_size=2.
Every key is in nemo_configs/base.yaml. Exit codes: 0 done, 2 a mistake to correct, 3 the loss is not finite,
74 the machine failed in a way that may pass (a port in use, a file server that does not answer: try again),
75 stopped by a signal and saved, or a judge that stays away (the same command goes on)."""


@dataclass(frozen=True)
class Command:
    """A command of `danube`."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Does it and returns the exit code. Beside the options its argument has ``arguments``, the words of the command
    line, and ``again``, which runs the whole command line once more and returns its exit code."""
    in_processes: bool = False
    """Whether a run's processes call it, each with a rank of its own."""


def add_parser(to: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    """Add the parser of a command, or of a direction of one."""
    parser: argparse.ArgumentParser = to.add_parser(
        name, help=text, description=text, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return parser
