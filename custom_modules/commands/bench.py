"""`danube bench`: the training steps of a config and its variants, timed."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path, take_config
from custom_modules.commands.processes import traced


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and those of what is timed."""
    take_config(command)
    command.add_argument("--steps", type=int, default=10, help="steps to time, of each stage, or phase of its batch")
    command.add_argument("--warmup", type=int, default=3, help="steps before them that do not count")
    command.add_argument("--stages", help="names with commas between; default: all")
    command.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME: KEY=VALUE ...'",
        help="a line of the table; default: bf16 and FP8 on a GPU with Transformer Engine, else the config as it is",
    )
    command.add_argument("--random-tokens", action="store_true", help="even where data.dir is prepared")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--into", type=path, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Measure in processes of our own, or in those that a launcher has started."""
    from custom_modules.bench.command import bench
    from custom_modules.bench.run import Request
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.platform.world import World

    die_with_launcher()
    request = Request(
        config_name=options.config_name,
        config_dir=options.config_dir,
        overrides=tuple(options.overrides),
        stages=tuple(options.stages.split(",")) if options.stages else (),
        warmup=options.warmup,
        steps=options.steps,
        random_tokens=options.random_tokens,
    )
    world = World.from_environment()
    return traced(lambda: bench(request, options.variant, options.json, world, options.into), world.size)
