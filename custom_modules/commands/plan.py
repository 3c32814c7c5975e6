"""`danube plan`: what a run will be."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import config_of, take_config


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and those of speed and form."""
    take_config(command)
    command.add_argument("--mfu", type=float, help="model FLOPs utilisation to count GPU-hours with, such as 0.4")
    command.add_argument("--gpu", help="the chip to plan for, such as H100")
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the plan, and on stderr which keys have no effect."""
    config = config_of(options)

    from custom_modules.config.without_effect import without_effect
    from custom_modules.plan.plan import build_plan
    from custom_modules.plan.render import as_json, render_text
    from custom_modules.text import say_once

    for line in without_effect(config):
        say_once(line)
    plan = build_plan(config, mfu=options.mfu, gpu=options.gpu)
    print(as_json(plan) if options.json else render_text(plan))
    return 0
