"""`danube ended`: what the exit code of a run's process means."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import any_config_of, take_config


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and the code."""
    take_config(command)
    command.add_argument("--code", type=int, required=True, help="of a process that a signal has ended: above 128")


def run(options: argparse.Namespace) -> int:
    """Print one line."""
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.config.schema import TrainingConfig
    from custom_modules.killed import name_signal
    from custom_modules.run_folder.ended import where_it_stands

    config = any_config_of(options)
    assert isinstance(config, TrainingConfig | DpoConfig), "every command that trains has a run's folder"
    print(f"a process was ended by {name_signal(options.code - 128)}; {where_it_stands(config.run_dir)}")
    return 0
