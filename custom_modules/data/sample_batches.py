"""Micro-batches of samples of different lengths, for one data-parallel rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from custom_modules.data.batches import Batch
from custom_modules.data.loader import ahead_on_device
from custom_modules.data.sample_steps import NOTHING, SampleStep
from custom_modules.errors import OwnShareError


class Samples(Protocol):
    """What micro-batches are made of: a split of prepared conversations, or what stands for one."""

    @property
    def folder(self) -> Path:
        """Where they lie, for a message."""
        ...

    def __getitem__(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return a sample: [tokens], int64: ids; [tokens], bool: which of them are of an answer."""
        ...


@dataclass(frozen=True)
class SampleLoader:
    """Reads one data-parallel rank's micro-batches, prepared while the ones before them are trained on."""

    pad_id: int
    """The token behind the end of a sample; nothing is learnt of it."""
    vocab_size: int
    """Ids at or beyond it are refused; on a GPU they would end in a device-side assertion."""
    data_parallel_rank: int
    device: torch.device
    """Where the micro-batches go."""
    prefetch_factor: int
    """Micro-batches that are prepared ahead."""

    @contextmanager
    def open(self, samples: Samples, steps: Iterable[SampleStep]) -> Iterator[Iterator[Batch]]:
        """Read this rank's micro-batches of all steps, one after the other.

        Yields:
            An iterator of what `read` gives. It raises what reading raises.
        """
        items = ((step, number) for step in steps for number in range(step.num_microbatches))

        def read(item: tuple[SampleStep, int]) -> Batch:
            return self.read(samples, *item)

        with closing(ahead_on_device(read, items, self.prefetch_factor, self.device)) as batches:
            yield batches

    def read(self, samples: Samples, step: SampleStep, number: int) -> Batch:
        """Return one micro-batch of a step.

        Returns:
            ``tokens``, ``labels`` and ``position_ids``, int64, and ``loss_mask``, fp32 with 1 where the label is of an
            answer: each ``[micro_batch_size, seq_length]``.

        Raises:
            OwnShareError: an id is beyond the vocabulary.
        """
        shape = (step.micro_batch_size, step.seq_length)
        tokens, labels = (torch.full(shape, self.pad_id, dtype=torch.int64) for _ in range(2))
        mask = torch.zeros(shape, dtype=torch.float32)
        for row, sample in enumerate(step.micro_batch(number, self.data_parallel_rank)):
            if sample == NOTHING:
                continue
            ids, answers = samples[sample]
            if (largest := int(ids.max())) >= self.vocab_size:
                raise OwnShareError(
                    f"{samples.folder}: token id {largest} in sample {sample} is beyond model.vocab_size="
                    f"{self.vocab_size}; the data is damaged or was encoded with another tokenizer"
                )
            length = len(ids) - 1
            tokens[row, :length] = torch.from_numpy(ids[:-1])
            labels[row, :length] = torch.from_numpy(ids[1:])
            mask[row, :length] = torch.from_numpy(answers[1:].astype("float32"))
        positions = torch.arange(step.seq_length).expand(step.micro_batch_size, -1)
        return {"tokens": tokens, "labels": labels, "loss_mask": mask, "position_ids": positions}
