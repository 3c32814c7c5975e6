"""`danube dpo`: an adapter is trained on pairs of answers, on an exported model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.options import kind_of_config, take_config
from custom_modules.commands.processes import on_every_process

if TYPE_CHECKING:
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.training.signals import StopRequest


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options."""
    take_config(command, default="danube_dpo")


def run(options: argparse.Namespace) -> int:
    """Train in one process a device, on pairs that are there."""
    return on_every_process(options, _train, _check, _load, _import)


def _load(options: argparse.Namespace) -> DpoConfig:
    from custom_modules.config.dpo import DpoConfig

    return kind_of_config(options, DpoConfig)


def _check(config: DpoConfig) -> None:
    from custom_modules.data.preferences import load_preferences
    from custom_modules.dpo.libraries import require_libraries
    from custom_modules.dpo.settings import accumulation

    require_libraries()
    accumulation(config)
    load_preferences(config)


def _import(config: DpoConfig) -> None:
    from custom_modules.dpo.libraries import import_libraries

    import_libraries()
    import custom_modules.dpo.trainer  # noqa: F401


def _train(config: DpoConfig, stop: StopRequest) -> None:
    from custom_modules.dpo.run import dpo

    dpo(config, stop)
