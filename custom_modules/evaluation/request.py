"""What `danube evaluate` is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_modules.tasks.suite import ProtocolName


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        suite: a name or a file.
        data: where the data sets were fetched into.
        output: the results' folder; None for the usual one.
        only: names of tasks; None for all.
        batch_size: passes that are prepared at a time; no result depends on it.
        accelerator: as ``trainer.accelerator``.
        overrides: ``KEY=VALUE`` of a run's config.
    """

    suite: str
    data: Path
    output: Path | None
    protocol: ProtocolName | None
    only: Sequence[str] | None
    limit: int | None
    chat_template: bool
    batch_size: int
    accelerator: str
    overrides: Sequence[str]
