"""The steps of a run over samples: which samples each has, in what order, and where the token clock stands after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from custom_modules.config.padding import padded_length
from custom_modules.config.recompute import Recompute, stage_recompute
from custom_modules.config.sft import SFT, SftConfig
from custom_modules.errors import UserError

NOTHING = -1
"""The number of a sample that counts nothing: it fills up a step that is not whole."""


@dataclass(frozen=True)
class SampleStep:
    """One step, or a part of an evaluation. All its samples are padded to one length."""

    name: str
    samples: tuple[int, ...]
    """The numbers of all ranks' samples; `NOTHING` behind the last."""
    seq_length: int
    """Tokens of a padded sample's input, and of its labels."""
    global_batch_tokens: int
    """Tokens of its samples, without what pads them: what the clock moves by."""
    micro_batch_size: int
    data_parallel_size: int
    recompute: Recompute
    is_epoch_end: bool = False

    @property
    def num_microbatches(self) -> int:
        """Forward passes a device makes."""
        return len(self.samples) // (self.micro_batch_size * self.data_parallel_size)

    @property
    def real_samples(self) -> tuple[int, ...]:
        """The numbers of those that count."""
        return tuple(number for number in self.samples if number != NOTHING)

    def micro_batch(self, number: int, rank: int) -> tuple[int, ...]:
        """Return the samples of a data-parallel rank's micro-batch, dealt out as in pre-training."""
        size = self.micro_batch_size
        first = (number * self.data_parallel_size + rank) * size
        return self.samples[first : first + size]


def make_step(
    config: SftConfig,
    lengths: NDArray[np.int32],
    samples: Sequence[int] | NDArray[np.int64],
    is_epoch_end: bool = False,
) -> SampleStep:
    """Make a step of some samples, filled up to a whole number of micro-batches on every rank.

    Args:
        lengths: tokens of each sample of the split.
        samples: at least one.
    """
    model = config.model
    own = [int(lengths[number]) for number in samples]
    together = model.micro_batch_size * config.data_parallel_size * model.micro_batch_group
    missing = -len(samples) % together
    return SampleStep(
        name=SFT,
        samples=(*map(int, samples), *[NOTHING] * missing),
        # The last token of a sample is a label only.
        seq_length=padded_length(model, max(max(own) - 1, 1), model.encoder_seq_length),
        global_batch_tokens=sum(own),
        micro_batch_size=model.micro_batch_size,
        data_parallel_size=config.data_parallel_size,
        recompute=stage_recompute(config, SFT),
        is_epoch_end=is_epoch_end,
    )


class SampleSteps:
    """The steps of a whole run: every sample once an epoch, in an order that ``model.seed`` and the epoch fix.

    The last step of an epoch has what is left. The same on any number of devices.

    Args:
        lengths: [samples], int32: tokens of each training sample.

    Raises:
        UserError: there is none.
    """

    def __init__(self, config: SftConfig, lengths: NDArray[np.int32]) -> None:
        self.config = config
        self.lengths = lengths
        self.batch = config.model.global_batch_size
        self.epochs = config.trainer.max_epochs
        if not len(lengths):
            raise UserError(f"data.dir={config.data.dir}: there is no sample to train on; prepare more of data.sources")

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.batch)

    @property
    def count(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def epoch_tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run, without what pads them."""
        return self.epochs * self.epoch_tokens

    @property
    def warmup_tokens(self) -> int:
        """Tokens in which the learning rate rises to its peak."""
        return self.config.warmup_tokens(self.total_tokens)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of the samples in the order in which an epoch, from 0, trains on them.

        NumPy's `RandomState` gives the same numbers in every version; its `Generator` need not.
        """
        return np.random.RandomState([self.config.model.seed, epoch]).permutation(len(self.lengths))

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """[steps], int64: where the clock stands after each."""
        firsts = np.arange(0, len(self.lengths), self.batch)
        steps = [
            np.add.reduceat(self.lengths[self.order(epoch)], firsts, dtype=np.int64) for epoch in range(self.epochs)
        ]
        return np.cumsum(np.concatenate(steps))

    def steps_before(self, consumed_tokens: int) -> int | None:
        """Return how many steps a run at so many tokens has made; None: no step ends there."""
        if not consumed_tokens:
            return 0
        number = int(np.searchsorted(self.ends, consumed_tokens))
        return number + 1 if number < self.count and self.ends[number] == consumed_tokens else None

    def from_step(self, first: int) -> Iterator[SampleStep]:
        """Yield the steps from one on, counted from 0."""
        for epoch in range(first // self.steps_per_epoch, self.epochs):
            order = self.order(epoch)
            for number in range(max(first - epoch * self.steps_per_epoch, 0), self.steps_per_epoch):
                samples = order[number * self.batch : (number + 1) * self.batch]
                yield make_step(self.config, self.lengths, samples, number == self.steps_per_epoch - 1)
