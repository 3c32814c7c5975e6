"""A batch that grows: a step's follows from the tokens consumed before it alone, so that nothing has to be saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from custom_modules.config.sections import PositiveInt


class BatchRampup(NamedTuple):
    """``model.rampup_batch_tokens``: the rule of megatron-core's ``RampupBatchsizeNumMicroBatchesCalculator``, which
    NeMo's ``rampup_batch_size`` follows, in tokens."""

    first: PositiveInt
    """The batch of the run's first step."""
    increment: PositiveInt
    """What the batch grows by each time."""
    tokens: PositiveInt
    """Consumed tokens from which on a step has the whole batch."""

    def batch(self, consumed_tokens: int, whole: int) -> int:
        """Return the tokens of the step that begins at ``consumed_tokens``.

        Args:
            whole: the batch once the ramp is over.
        """
        if consumed_tokens >= self.tokens:
            return whole
        return self.first + self.increment * (self._levels(whole) * consumed_tokens // self.tokens)

    def _levels(self, whole: int) -> int:
        """Return how often the batch grows; never where there is nothing between the first and the whole."""
        return max(0, whole - self.first) // self.increment

    def _end(self, consumed_tokens: int, whole: int) -> int | None:
        """Return the least clock at which the batch is another than at ``consumed_tokens``; None where it stays."""
        if consumed_tokens >= self.tokens:
            return None
        levels = self._levels(whole) or 1
        return -(-(levels * consumed_tokens // self.tokens + 1) * self.tokens // levels)

    def phases(self, whole: int, start_tokens: int, token_budget: int) -> Iterator[BatchPhase]:
        """Yield the steps that a stage takes, those of one batch together.

        Args:
            whole: the batch once the ramp is over.
            start_tokens: where on the run's clock the stage begins.
            token_budget: that the stage trains at least; the last step is whole.
        """
        now, end = start_tokens, start_tokens + token_budget
        while now < end:
            batch = self.batch(now, whole)
            until = self._end(now, whole)
            steps = -(-(end - now if until is None else min(until, end) - now) // batch)
            yield BatchPhase(batch, now, steps)
            now += steps * batch


class BatchPhase(NamedTuple):
    """Steps in a row that have one batch."""

    batch_tokens: int
    start_tokens: int
    """On the run's clock."""
    steps: int

    @property
    def end_tokens(self) -> int:
        return self.start_tokens + self.steps * self.batch_tokens


def batch_phases(
    rampup: BatchRampup | None, whole: int, start_tokens: int, token_budget: int
) -> tuple[BatchPhase, ...]:
    """Return a stage's steps as `BatchRampup.phases` yields them; in one phase where the batch does not grow."""
    if rampup is None:
        return (BatchPhase(whole, start_tokens, -(-token_budget // whole)),)
    return tuple(rampup.phases(whole, start_tokens, token_budget))


def tokens_of_steps(rampup: BatchRampup | None, whole: int, start_tokens: int, steps: int) -> int:
    """Return the tokens of so many steps of a stage."""
    tokens = 0
    for phase in batch_phases(rampup, whole, start_tokens, steps * whole):
        share = min(steps, phase.steps)
        tokens, steps = tokens + share * phase.batch_tokens, steps - share
    return tokens
