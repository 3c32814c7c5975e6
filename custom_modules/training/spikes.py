"""Spikes of the loss: which steps are high, and when they are a spike. Needs no torch.

A step is high where its loss is above the median of the last ``window`` losses that were not high by ``deviations``
standard deviations and by ``floor`` nats, or where its gradient norm is above the median of its own window by
``deviations`` of its own and by a factor of 2. A spike is ``patience`` high steps in a row, or one that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from custom_modules.config.loss_spike import LossSpikeConfig
from custom_modules.run_folder.spike_window import SpikeWindow

DEVIATION_OF_MAD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
NORM_FACTOR = 2.0
"""A gradient norm below this many times the median is not high, however little the others scatter."""


@dataclass(frozen=True)
class Judgement:
    """What a step is."""

    is_high: bool
    is_spike: bool
    reason: str
    """Which number is high, and above what; empty where none is."""


class SpikeDetector:
    """Judges the steps of a stage one after another.

    Args:
        options: what counts as high.
        window: of the stage's steps so far; none at its begin, as another mix has other losses.
    """

    def __init__(self, options: LossSpikeConfig, window: SpikeWindow | None = None) -> None:
        self.options = options
        self.window = window or SpikeWindow()

    def judge(self, loss: float, grad_norm: float, begin_tokens: int) -> Judgement:
        """Judge the next step, and hold the ones behind it against it where it is not high.

        Args:
            loss: in nats a token.
            grad_norm: before clipping.
            begin_tokens: consumed tokens at the step's begin.
        """
        window = self.window
        reasons = []
        for name, value, known, limit in (
            ("loss", loss, window.losses, self._loss_limit()),
            ("grad_norm", grad_norm, window.grad_norms, self._norm_limit()),
        ):
            if not math.isfinite(value):
                reasons.append(f"{name}={value}: not finite")
            elif limit is not None and value > limit:
                reasons.append(f"{name}={value:.4f}: above {limit:.4f}")
            else:
                known.append(value)
                del known[: -self.options.window]
        if not reasons:
            window.high_steps, window.first_high_tokens = 0, None
            return Judgement(False, False, "")
        if not window.high_steps:
            window.first_high_tokens = begin_tokens
        window.high_steps += 1
        broken = not (math.isfinite(loss) and math.isfinite(grad_norm))
        return Judgement(True, broken or window.high_steps >= self.options.patience, "; ".join(reasons))

    def _loss_limit(self) -> float | None:
        """Return what a loss must not be above; None as long as too few are known."""
        known = self.window.losses
        if not self._enough(known):
            return None
        return median(known) + max(self.options.deviations * _deviation(known), self.options.floor)

    def _norm_limit(self) -> float | None:
        known = self.window.grad_norms
        if not self._enough(known):
            return None
        middle = median(known)
        return max(middle + self.options.deviations * _deviation(known), NORM_FACTOR * middle)

    def _enough(self, known: Sequence[float]) -> bool:
        """Tell whether half a window is known, which a median is taken of (assumed)."""
        return bool(known) and 2 * len(known) >= self.options.window


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of values that outliers are among, by their median absolute deviation."""
    middle = median(values)
    return DEVIATION_OF_MAD * median([abs(value - middle) for value in values])
