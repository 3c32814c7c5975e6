"""Contradictions between keys of runs on conversations and pairs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.config.sft import SftConfig


def check_warmup_epochs(config: SftConfig | DpoConfig) -> None:
    """Refuse a warm-up that is never over.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    warmup, epochs = config.model.optim.sched.warmup_epochs, config.trainer.max_epochs
    if warmup >= epochs:
        raise UserError(
            f"model.optim.sched.warmup_epochs={warmup:g}: not below trainer.max_epochs={epochs}; Danube's is 0.05"
        )


def check_chat_sources(config: SftConfig | DpoConfig) -> None:
    """Refuse names that no file can have.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    for name in config.data.sources:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"data.sources.{name}: a source's name is also a file's; use letters, digits, _ and -")
