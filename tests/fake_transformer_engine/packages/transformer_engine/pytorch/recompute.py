"""Where a program is in activation recomputation."""

from __future__ import annotations

from typing import Any, ClassVar

from transformer_engine.pytorch.quantization import FP8GlobalStateManager


class Phase:
    """Class attributes are the state."""

    is_first_pass = False
    """What runs is run again in the backward pass, and in FP8."""
    is_again = False
    """What runs has run before."""
    was_first: ClassVar[list[bool]] = []
    """`FP8GlobalStateManager.IS_FIRST_FP8_MODULE` of each first pass whose second one is to come."""


class activation_recompute_forward:
    """A pass that is run again in the backward pass, or that second one."""

    def __init__(self, activation_recompute: bool = False, recompute_phase: bool = False) -> None:
        self.activation_recompute, self.recompute_phase = activation_recompute, recompute_phase

    def __enter__(self) -> None:
        manager = FP8GlobalStateManager
        Phase.is_first_pass = self.activation_recompute and not self.recompute_phase and manager.is_fp8_enabled()
        Phase.is_again = self.recompute_phase
        if self.activation_recompute and self.recompute_phase:
            manager.IS_FIRST_FP8_MODULE = Phase.was_first.pop(0)
        elif self.activation_recompute:
            Phase.was_first.append(manager.IS_FIRST_FP8_MODULE)

    def __exit__(self, *details: Any) -> None:
        Phase.is_first_pass = Phase.is_again = False
