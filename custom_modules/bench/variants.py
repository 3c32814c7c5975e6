"""The variants of a config that are set beside one another."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import UserError
from custom_modules.platform.driver import find_driver
from custom_modules.platform.requirements import installed

DRIVER_TIMEOUT = 30.0
"""Seconds for nvidia-smi; a node of eight GPUs takes its time."""


@dataclass(frozen=True)
class Variant:
    """A name, and what differs from the config."""

    name: str
    overrides: tuple[str, ...]


AS_CONFIGURED = Variant("as configured", ())


def parse_variant(text: str) -> Variant:
    """``NAME: KEY=VALUE ...``; no words after the colon: the config as it is.

    Raises:
        UserError: no name, or a word that is no override.
    """
    name, colon, words = text.partition(":")
    try:
        overrides = tuple(shlex.split(words))
    except ValueError as error:
        raise UserError(f"--variant {text}: {error}".lower()) from None
    wrong = [word for word in overrides if "=" not in word and not word.startswith("~")]
    if not colon or not name.strip() or wrong:
        raise UserError(f"--variant {text}: not NAME: KEY=VALUE ...; for example --variant 'tp2: trainer.devices=2'")
    return Variant(name.strip(), overrides)


def choose_variants(config: TrainingConfig, given: Sequence[str]) -> tuple[Variant, ...]:
    """Take those given; else, on a GPU with Transformer Engine, bf16 and FP8; else the config as it is.

    Raises:
        UserError: two of one name, or as `parse_variant`.
    """
    variants = tuple(map(parse_variant, given))
    names = [variant.name for variant in variants]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--variant {name}: given twice; give each a name of its own")
    if variants:
        return variants
    can_gpu = config.trainer.accelerator != "cpu" and bool(find_driver(DRIVER_TIMEOUT).gpus)
    if can_gpu and installed("transformer-engine") is not None:
        bf16 = "trainer.precision=bf16-mixed"
        fp8 = config.model.fp8 or "hybrid"
        return Variant("bf16", (bf16, "model.fp8=null")), Variant("FP8", (bf16, f"model.fp8={fp8}"))
    return (AS_CONFIGURED,)
