"""`danube teach`: a teacher speaks on the distilled parts of the data."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from custom_modules.commands.options import is_override, path, positive, take_config
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options with the model among its words, and those of the teacher."""
    take_config(command, words="MODEL ")
    command.add_argument("--teacher", required=True, metavar="NAME", help="what distillation.teachers calls it")
    command.add_argument(
        "--texts", action="store_true", help="it continues the first distillation.prefix_tokens of each document"
    )
    command.add_argument(
        "--import",
        dest="answers",
        type=path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="take an API's answers instead: JSON lines of hash, text and, if there is one, OpenAI's logprobs",
    )
    command.add_argument("--prompts", type=path, metavar="FILE", help="write what an API is to continue, as JSON lines")
    command.add_argument("--length", type=positive, metavar="N", help="tokens that the model reads at a time")
    command.add_argument("--shard-tokens", type=positive, metavar="N", help="tokens done at a time, and lost at a kill")
    command.add_argument("--temperature", type=float, default=1.0, help="of --texts; default: 1")
    command.add_argument("--top-p", type=float, default=1.0, help="of --texts: the share of probability drawn from")


def run(options: argparse.Namespace) -> int:
    """Teach in the processes that torchrun or Slurm started, else in one process a device of our own."""
    from custom_modules.config.load import load_config
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.training.signals import stop_requests
    from data_prep.teach.command import TeachOptions, teach

    die_with_launcher()
    words = [word for word in options.overrides if not is_override(word)]
    overrides = [word for word in options.overrides if is_override(word)]
    if len(words) > 1:
        raise UserError(f"{words[1]}: neither KEY=VALUE nor the one MODEL, {words[0]}; see danube teach --help")
    options.model = Path(words[0]) if words else None
    config = load_config(options.config_name, overrides, options.config_dir)
    names = [field.name for field in fields(TeachOptions)]
    chosen = TeachOptions(**{name: getattr(options, name) for name in names})
    with stop_requests() as stop:
        return teach(config, chosen, options.arguments, stop)
