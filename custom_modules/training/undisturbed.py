"""Other work between a run's steps, after which the run is the one without it, bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from custom_modules.training.engine import Engine
from custom_modules.training.random_state import random_state, set_random_state
from custom_modules.training.te_state import fp8_histories, set_fp8_histories


@contextmanager
def undisturbed(engine: Engine) -> Iterator[None]:
    """Put back the random numbers and the FP8 scales that forward passes of other tokens change."""
    random, histories = random_state(), fp8_histories(engine.chunks)
    try:
        yield
    finally:
        set_fp8_histories(histories)
        set_random_state(random)
