"""`danube sft`: supervised fine-tuning."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.options import sft_config_of, take_config
from custom_modules.commands.processes import on_every_process

if TYPE_CHECKING:
    from custom_modules.config.sft import SftConfig
    from custom_modules.training.signals import StopRequest


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options."""
    take_config(command, default="danube_sft")


def run(options: argparse.Namespace) -> int:
    """Train in one process a device, on conversations that are there."""
    return on_every_process(options, _train, _check, sft_config_of, _import)


def _check(config: SftConfig) -> None:
    from custom_modules.data.conversations import load_conversations
    from custom_modules.objective import check_objective

    check_objective(config)
    load_conversations(config)


def _import(config: SftConfig) -> None:
    from custom_modules.platform.environment import import_megatron_for

    import_megatron_for(config)
    import custom_modules.training.sft  # noqa: F401


def _train(config: SftConfig, stop: StopRequest) -> None:
    _import(config)
    from custom_modules.training.sft import sft

    sft(config, stop)
