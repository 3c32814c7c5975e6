"""What a suite costs, said before it runs: tokens, and the time that their FLOPs take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.plan.duration import DEFAULT_GPU, DEFAULT_MFU
from custom_modules.plan.flops import find_gpu
from custom_modules.text import human_duration


@dataclass(frozen=True)
class Cost:
    """Tokens of a suite."""

    scored: int
    """Read for log-likelihoods, a context once for continuations that differ in their last token alone."""
    read: int
    """Of contexts that texts are generated behind."""
    generated: int
    """At most, of new tokens."""
    is_counted: bool = True
    """Whether they were counted with the model's own tokenizer and data; else with a vocabulary of 32,000."""


KNOWN = {
    "danube-table1": Cost(8_400_000, 0, 140_000, False),
    "open-llm-leaderboard": Cost(61_000_000, 0, 200_000, False),
    "lokilm-table1": Cost(40_000_000, 0, 200_000, False),
}
"""Counted on the real texts of whole sets with a 32,000-token vocabulary; generated: as many as are needed."""


def forward_flops(parameters: int, tokens: int) -> int:
    """Return the FLOPs of a forward pass over so many tokens, without attention's scores: 2 a parameter and token."""
    return 2 * parameters * tokens


def seconds_by_flops(flops: int, devices: int, gpu: str | None = None, mfu: float | None = None) -> float | None:
    """Return how long so many FLOPs take on GPUs; None of a kind that is not known."""
    found = find_gpu(gpu or DEFAULT_GPU)
    return flops / (found.peak_flops * (mfu or DEFAULT_MFU) * devices) if found else None


def cost_lines(suite: str, cost: Cost, flops: int | None, devices: int, gpu: str, mfu: float) -> Iterator[str]:
    """Say a suite's tokens and time, and what of it is measured.

    Args:
        flops: of the tokens that are scored and read; None: not known.
    """
    counted = "counted" if cost.is_counted else "counted with a vocabulary of 32,000 on whole sets"
    read = f", {cost.read:,} read before texts" if cost.read else ""
    most = "at most " if cost.is_counted else "about "
    generated = f", {most}{cost.generated:,} generated" if cost.generated else ""
    yield f"{suite}: {cost.scored:,} tokens scored{read}{generated} ({counted})"
    seconds = None if flops is None else seconds_by_flops(flops, devices, gpu, mfu)
    if seconds is not None:
        text = "; texts are generated token by token, which takes longer than its FLOPs" if cost.generated else ""
        yield (
            f"by FLOPs {human_duration(seconds)} on {devices} x {gpu} at an assumed {mfu:.0%} of its peak: not "
            f"measured{text}"
        )
