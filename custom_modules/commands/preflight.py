"""`danube preflight`: nodes, folders and network, looked at as `pretrain` or `sft` would use them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.options import training_config_of
from custom_modules.commands.processes import on_every_process

if TYPE_CHECKING:
    from custom_modules.config.schema import TrainingConfig
    from custom_modules.training.signals import StopRequest


def run(options: argparse.Namespace) -> int:
    """Check in one process a device."""
    return on_every_process(options, _check, _check_config, training_config_of, _import)


def _check_config(config: TrainingConfig) -> None:
    from custom_modules.cluster.checked_run import checked_run

    checked_run(config).require_loader()


def _import(config: TrainingConfig) -> None:
    from custom_modules.cluster.checked_run import checked_run

    checked_run(config).import_training()


def _check(config: TrainingConfig, stop: StopRequest) -> None:
    from custom_modules.cluster.preflight import preflight

    preflight(config)
