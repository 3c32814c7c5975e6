"""In which order pairs are trained on, and how far a run is in tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class PairOrder(Sampler[int]):
    """The pairs of an epoch: each at most once, in an order that seed and epoch fix, whole batches only.

    A batch of the order is a step's, however many processes share it: accelerate deals out equal parts of it, and never
    has to repeat a pair so that all have the same number.

    Args:
        tokens: of each pair: prompt and answer, twice.
        batch: pairs of a step, over all processes.
        seed: of the order.
    """

    def __init__(self, tokens: Sequence[int], batch: int, seed: int) -> None:
        self.tokens = np.asarray(tokens, dtype=np.int64)
        self.batch = batch
        self.seed = seed
        self.epoch = 0
        self._sums: dict[int, np.ndarray] = {}

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.tokens) // self.batch

    @property
    def left_out(self) -> int:
        """Pairs of an epoch that would not make a whole batch."""
        return len(self.tokens) % self.batch

    def __len__(self) -> int:
        return self.steps * self.batch

    def __iter__(self) -> Iterator[int]:
        return iter(self.of_epoch(self.epoch).tolist())

    def of_epoch(self, epoch: int) -> np.ndarray:
        """Return the pairs of an epoch, ``[steps * batch]``, in their order."""
        drawn = np.random.default_rng([self.seed, epoch]).permutation(len(self.tokens))
        return drawn[: len(self)]

    def tokens_after(self, steps: int) -> int:
        """Return how many tokens have been trained on after so many steps from the first one on, padding left out."""
        epochs, more = divmod(steps, self.steps)
        whole = sum(self._summed(epoch)[-1] for epoch in range(epochs))
        return int(whole + (self._summed(epochs)[more * self.batch - 1] if more else 0))

    def _summed(self, epoch: int) -> np.ndarray:
        """Return by place in an epoch the tokens up to there, the pair at the place among them."""
        if epoch not in self._sums:
            self._sums[epoch] = np.cumsum(self.tokens[self.of_epoch(epoch)])
        return self._sums[epoch]
