"""`danube plan`: what a run will be."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.options import any_config_of, config_of, path, positive, take_config
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.config.chat_data import ChatDataConfig
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.config.schema import RunConfig
    from custom_modules.config.sft import SftConfig


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and those of speed and form."""
    take_config(command)
    command.add_argument("--mfu", type=float, help="model FLOPs utilisation to count GPU-hours with, such as 0.4")
    command.add_argument("--gpu", help="the chip to plan for, such as H100")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--suite",
        metavar="SUITE",
        help="plan an evaluation of the model instead, as `danube evaluate` names it",
    )
    command.add_argument(
        "--data", type=path, metavar="DIR", help="of --suite: count on this data, with model.tokenizer.model"
    )
    command.add_argument("--limit", type=positive, metavar="N", help="of --suite with --data: items of each task")


def run(options: argparse.Namespace) -> int:
    """Print the plan, and on stderr which keys have no effect."""
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.config.sft import SftConfig

    found = any_config_of(options)
    if options.suite is not None:
        return _plan_evaluation(found, options)
    if isinstance(found, DpoConfig):
        return _plan_preferences(found, options)
    if isinstance(found, SftConfig):
        return _plan_samples(found, options)
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


def _plan_evaluation(config: RunConfig, options: argparse.Namespace) -> int:
    from custom_modules.config.schema import TrainingConfig
    from custom_modules.evaluation.cost import plan_suite

    if not isinstance(config, TrainingConfig):
        raise UserError("--suite: a run of `danube dpo` is evaluated as its export; plan with the base model's recipe")
    for line in plan_suite(config, options.suite, options.data, options.limit, options.gpu, options.mfu):
        print(line)
    return 0


def _plan_preferences(config: DpoConfig, options: argparse.Namespace) -> int:
    from custom_modules.plan.preference_plan import as_json, plan_preferences, render_text

    plan = plan_preferences(config, options.mfu, options.gpu)
    if plan is None:
        raise _unknown(config.data)
    print(as_json(plan) if options.json else render_text(plan))
    return 0


def _plan_samples(config: SftConfig, options: argparse.Namespace) -> int:
    from custom_modules.plan.sample_plan import as_json, plan_samples, render_text

    plan = plan_samples(config, options.mfu, options.gpu)
    if plan is None:
        raise _unknown(config.data)
    print(as_json(plan) if options.json else render_text(plan))
    return 0


def _unknown(data: ChatDataConfig) -> UserError:
    return UserError(
        f"data.dir={data.dir}: nothing is prepared there, and a source of data.sources has no max_samples; run "
        "`danube prepare` with this config, or give max_samples"
    )
