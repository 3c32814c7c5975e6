"""`danube pretrain`: training."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.processes import check_training, on_every_process

if TYPE_CHECKING:
    from custom_modules.config.schema import Config
    from custom_modules.training.signals import StopRequest


def run(options: argparse.Namespace) -> int:
    """Train in one process a device, on data that is there."""
    return on_every_process(options, _train, _find_data)


def _find_data(config: Config) -> None:
    from custom_modules.data.manifest import load_manifest

    check_training(config)
    load_manifest(config)


def _train(config: Config, stop: StopRequest) -> None:
    from custom_modules.platform.environment import import_megatron_for

    import_megatron_for(config)
    from custom_modules.training.pretrain import pretrain

    pretrain(config, stop)
