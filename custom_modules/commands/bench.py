"""`danube bench`: the training steps of a config and its variants, timed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.options import path, take_config
from custom_modules.commands.processes import traced
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.bench.run import Request
    from custom_modules.platform.world import World

MINUTES = 10.0
"""What a search may take by default."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and those of what is timed."""
    take_config(command)
    command.add_argument("--steps", type=int, help="steps to time, of each stage, or phase of its batch; default: 10")
    command.add_argument("--warmup", type=int, help="steps before them that do not count; default: 3")
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
    search = command.add_argument_group(
        "the fastest settings",
        "Of what the plan says will fit, the best guess first: micro-batch, recomputation, FP8 recipe, loss in chunks, "
        "optimizer and parallelism, each timed for seconds. Keys that the command line gives are not tried.",
    )
    search.add_argument("--search", action="store_true", help="find them, and print them as overrides")
    search.add_argument("--minutes", type=float, help="what the search may take in all; default: 10")
    search.add_argument(
        "--output",
        type=path,
        metavar="DIR",
        help="keep what was measured, from which the same command goes on, and write the fastest settings as a recipe",
    )
    command.add_argument("--into", type=path, help=argparse.SUPPRESS)
    command.add_argument("--begun", type=float, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Measure in processes of our own, or in those that a launcher has started."""
    from custom_modules.bench.command import bench
    from custom_modules.bench.run import Request
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.platform.world import World

    die_with_launcher()
    _check(options)
    request = Request(
        config_name=options.config_name,
        config_dir=options.config_dir,
        overrides=tuple(options.overrides),
        stages=tuple(options.stages.split(",")) if options.stages else (),
        warmup=3 if options.warmup is None else options.warmup,
        steps=10 if options.steps is None else options.steps,
        random_tokens=options.random_tokens,
    )
    world = World.from_environment()
    if options.search:
        return traced(lambda: _search(options, request, world), world.size)
    return traced(lambda: bench(request, options.variant, options.json, world, options.into), world.size)


def _search(options: argparse.Namespace, request: Request, world: World) -> int:
    from custom_modules.bench.search.command import search
    from custom_modules.bench.search.run import SearchRequest, measure_setting

    asked = SearchRequest(request, MINUTES if options.minutes is None else options.minutes, options.output, traced)
    if options.into is not None:
        return measure_setting(asked, world.rank, options.into, options.begun)
    return search(asked, options.json, world)


def _check(options: argparse.Namespace) -> None:
    """Refuse options that go with a search alone, or not with one.

    Raises:
        UserError: one is given.
    """
    without = {"--minutes": options.minutes, "--output": options.output}
    beside = {"--variant": options.variant or None, "--steps": options.steps, "--warmup": options.warmup}
    for option, value in (beside if options.search else without).items():
        if value is not None:
            goes = "is not for a search, which decides it" if options.search else "is for a search: give --search too"
            raise UserError(f"{option}: {goes}")
