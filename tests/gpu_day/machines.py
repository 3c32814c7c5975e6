"""What a GPU day runs on, by its size."""

from __future__ import annotations

import os
from dataclasses import replace

from custom_modules.errors import UserError
from tests.support.gpu import HAS_GPU, ON_CPU, ON_GPU, Machine

SIZES = ("full", "tiny")


def machine_of(size: str) -> Machine:
    """Return the GPU that is there, or a CPU with the fake Transformer Engine, which rehearses the tiny size.

    Raises:
        UserError: nothing here is for that size.
    """
    if size == "full" and not HAS_GPU:
        raise UserError("gpu-day: torch sees no GPU here; --size tiny rehearses it on a CPU")
    if not HAS_GPU:
        return ON_CPU
    names = ("shape", "windows", "steps", "batch", "full_size")
    if size == "full":
        return replace(ON_GPU, environment=dict(os.environ))  # with as many threads as it gives, for the big model
    return replace(ON_GPU, **{name: getattr(ON_CPU, name) for name in names})
