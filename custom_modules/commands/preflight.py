"""`danube preflight`: nodes, folders and network, looked at as `pretrain` would use them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from custom_modules.commands.processes import on_every_process

if TYPE_CHECKING:
    from custom_modules.config.schema import Config
    from custom_modules.training.signals import StopRequest


def run(options: argparse.Namespace) -> int:
    """Check in one process a device."""
    return on_every_process(options, _check)


def _check(config: Config, stop: StopRequest) -> None:
    from custom_modules.cluster.preflight import preflight

    preflight(config)
