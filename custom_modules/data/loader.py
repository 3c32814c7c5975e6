"""Micro-batches on this rank's device, prepared while the ones before them are trained on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from custom_modules.config.schema import DataConfig
from custom_modules.config.stages import Stage
from custom_modules.data.batches import Batch, fields_of, first_samples, read_micro_batch
from custom_modules.data.dali import dali_batches
from custom_modules.data.dataset import Dataset
from custom_modules.data.documents import CU_SEQLENS, Documents
from custom_modules.read_ahead import read_ahead

Item = TypeVar("Item")


@dataclass(frozen=True)
class Loader:
    """Reads one data-parallel rank's micro-batches of any dataset and stage."""

    data: DataConfig
    """Says by which means, and how many micro-batches are prepared ahead."""
    vocab_size: int
    """Ids at or beyond it are refused."""
    data_parallel_rank: int
    device: torch.device
    """Where the micro-batches go."""
    documents: Documents | None = None
    """What the documents of a window have to do with each other; None: it does not matter where one ends."""

    @contextmanager
    def open_stage(self, dataset: Dataset, stage: Stage, consumed_tokens: int) -> Iterator[Iterator[Batch]]:
        """What is left of a stage for a run at ``consumed_tokens``, in the micro-batches of its phases.

        Args:
            dataset: item i is the stage's sample i.

        Yields:
            An iterator as `open` has it.
        """

        def batches() -> Generator[Batch, None, None]:
            for phase, samples in stage.phases_from(consumed_tokens):
                with self.open(dataset, phase, samples) as those:
                    yield from those

        with closing(batches()) as left:
            yield left

    @contextmanager
    def open(self, dataset: Dataset, stage: Stage, samples: range) -> Iterator[Iterator[Batch]]:
        """`micro_batches` of ``samples``. What was prepared and not taken is forgotten on the way out.

        Args:
            samples: without gaps, a multiple of micro-batch x data-parallel size of them.

        Yields:
            An iterator. It raises what reading raises, `OwnShareError` for an id beyond ``vocab_size``.
        """
        read = partial(read_micro_batch, dataset, stage, vocab_size=self.vocab_size, documents=self.documents)
        firsts = first_samples(stage, samples.start, samples.stop, self.data_parallel_rank)
        if self.data.loader == "dali":
            fields = partial(fields_of, dataset)
            batches = dali_batches(read, firsts, stage, self.data.prefetch_factor, self.device, fields, self.documents)
        else:
            batches = ahead_on_device(read, firsts, self.data.prefetch_factor, self.device)
        with closing(batches):
            yield batches


def ahead_on_device(
    read: Callable[[Item], Batch], items: Iterable[Item], ahead: int, device: torch.device
) -> Generator[Batch, None, None]:
    """Read a micro-batch for each item, in order, in a thread that is ahead of the caller, onto a device."""
    if device.type == "cpu":
        yield from read_ahead(read, items, ahead)
        return
    copying = torch.cuda.Stream(device)

    def read_and_copy(item: Item) -> tuple[Batch, torch.cuda.Event]:
        # A thread begins on GPU 0, where even pinning would take memory.
        torch.cuda.set_device(device)
        pinned = {name: tensor.contiguous().pin_memory() for name, tensor in read(item).items()}
        with torch.cuda.stream(copying):
            batch = {
                name: tensor if name == CU_SEQLENS else tensor.to(device, non_blocking=True)
                for name, tensor in pinned.items()
            }
            return batch, copying.record_event()

    with closing(read_ahead(read_and_copy, items, ahead)) as copies:
        for batch, copied in copies:
            training = torch.cuda.current_stream(device)
            training.wait_event(copied)
            for tensor in batch.values():
                if tensor.is_cuda:
                    tensor.record_stream(training)
            yield batch
