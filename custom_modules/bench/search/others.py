"""What others reach at the size of Danube-1.8B on an H100, to be set beside what is measured there."""

from __future__ import annotations

from collections.abc import Iterator

from custom_modules.config.load import load_config
from custom_modules.config.schema import MODEL_SHAPE, TrainingConfig
from custom_modules.plan.flops import peak_flops

LENGTH = 2048
"""Tokens of a sequence that their speeds are of."""

OTHERS = (
    (36_600, "Danube's report, in FP8, the mean over all stages (section 4)"),
    (43_000, "the best in bf16: llm.c, nanochat and torchao at 480 to 494 TFLOP/s"),
    (52_000, "the best in FP8: 572 to 590 TFLOP/s"),
)
"""Tokens/s a GPU, and where from. The report's is its own; the others are of other models, scaled to 1.8B by FLOPs."""


def others_beside(config: TrainingConfig, stage_length: int, device: str) -> Iterator[str]:
    """Yield lines of what others reach, where what was measured is of that model, length and chip; else nothing.

    Args:
        stage_length: tokens of the stage's sequences.
        device: its chip; an H200 computes as fast as an H100.
    """
    theirs = load_config("danube_1_8b").model
    same = all(getattr(config.model, key) == getattr(theirs, key) for key in MODEL_SHAPE)
    peak = peak_flops(device)
    if not same or stage_length != LENGTH or peak is None or peak != peak_flops("H100"):
        return
    yield f"Others on an H100, tokens/s a GPU at this size and {LENGTH:,} tokens (other models' scaled by FLOPs)"
    for rate, source in OTHERS:
        yield f"  {rate:,}  {source}"
