"""`danube prepare`: text becomes the datasets of the stages; conversations and pairs become samples."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import take_config
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and those of which steps run."""
    take_config(command)
    command.add_argument("--help-steps", action="store_true", help="list the steps with their options and defaults")
    command.add_argument(
        "--only", metavar="STEP", help="run this step alone; data.dir/only/STEP/ gets what it keeps and removes"
    )
    command.add_argument(
        "--replace", action="store_true", help="put other data in place of data that a run was started on"
    )


def run(options: argparse.Namespace) -> int:
    """Prepare the data, run one step alone, or print the page about the steps."""
    if options.help_steps:
        from custom_modules.data_steps.find import help_page

        print(help_page())
        return 0
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.config.load import load_any_config
    from custom_modules.config.schema import Config
    from custom_modules.config.sft import SftConfig

    config = load_any_config(options.config_name, options.overrides, options.config_dir)
    if isinstance(config, SftConfig | DpoConfig):
        if options.only is not None:
            raise UserError(f"--only {options.only}: a step of texts, and {config.name} is prepared from conversations")
        from data_prep.conversations.prepare import run as prepare_conversations

        prepare_conversations(config, options.replace)
        return 0
    assert isinstance(config, Config)
    if options.only is not None:
        from data_prep.only import run_step

        run_step(config, options.only)
        return 0

    from custom_modules.config.without_effect import without_effect_in_preparing
    from custom_modules.text import say_once
    from data_prep.prepare import run as prepare

    for line in without_effect_in_preparing(config):
        say_once(line)
    prepare(config, options.replace)
    return 0
