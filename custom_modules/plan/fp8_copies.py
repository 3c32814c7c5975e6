"""Bytes of the FP8 copies that Transformer Engine makes of weights: each twice, once of them transposed."""

from __future__ import annotations

from custom_modules.config.schema import AnyModelConfig
from custom_modules.platform.requirements import TRANSFORMER_ENGINE, Requirement, installed

KEEPS_GATHERED = Requirement(TRANSFORMER_ENGINE, "<2.16")
"""Versions that keep, of weights which FSDP has gathered, copies that nothing divides, from a step's first micro-batch
on. Later ones make those of a linear anew in each pass through it (``is_fsdp2`` in their linears)."""


def fp8_copies(model: AnyModelConfig, parameters: int) -> int:
    """Count what is there at the fullest moment of a step.

    The version of Transformer Engine is the installed one's; none: one that keeps them.

    Args:
        parameters: of the device's linears that FP8 multiplies, before FSDP divides them.
    """
    if not model.fp8:
        return 0
    if model.fsdp and KEEPS_GATHERED.excludes(installed(TRANSFORMER_ENGINE) or "0"):
        parameters = max(weight.count() for weight in model.weights if weight.may_run_in_fp8)
    return 2 * parameters
