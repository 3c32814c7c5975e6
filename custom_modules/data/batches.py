"""Micro-batches of one data-parallel rank, from any sample on."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from custom_modules.config.stages import Stage
from custom_modules.data.dataset import Dataset
from custom_modules.data.documents import Batch, Documents
from custom_modules.errors import OwnShareError


def micro_batches(
    dataset: Dataset,
    stage: Stage,
    start: int,
    end: int,
    data_parallel_rank: int,
    vocab_size: int,
    documents: Documents | None = None,
) -> Iterator[Batch]:
    """The samples ``start .. end - 1`` of a stage, in order, dealt to the ranks as Megatron does.

    A global batch holds the same samples under any data-parallel and micro-batch size.

    Args:
        dataset: items with ``tokens`` and ``labels``, int64 ``[seq_length]``, and what else its `fields_of` names.
        stage: gives the micro-batch and data-parallel size.
        start, end: samples; their difference is a multiple of micro-batch x data-parallel size.
        data_parallel_rank: whose share to yield.
        vocab_size: ids at or beyond it are refused; on a GPU they would end in a device-side assertion.
        documents: gives them what follows from their documents; None: nothing does.

    Yields:
        The fields, and ``position_ids``, int64 ``[micro_batch_size, seq_length]``.
    """
    for first in first_samples(stage, start, end, data_parallel_rank):
        yield read_micro_batch(dataset, stage, first, vocab_size, documents)


def first_samples(stage: Stage, start: int, end: int, data_parallel_rank: int) -> range:
    """The first sample of each of a rank's micro-batches. Arguments as `micro_batches` has them."""
    micro, ranks = stage.micro_batch_size, stage.data_parallel_size
    assert (end - start) % (micro * ranks) == 0
    return range(start + data_parallel_rank * micro, end, micro * ranks)


def read_micro_batch(
    dataset: Dataset, stage: Stage, first: int, vocab_size: int, documents: Documents | None = None
) -> Batch:
    """The micro-batch that begins with a sample, as `micro_batches` yields it."""
    micro = stage.micro_batch_size
    samples = [dataset[index] for index in range(first, first + micro)]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in fields_of(dataset, first)}
    largest = max(int(ids.max()) for name, ids in batch.items() if name.endswith(("tokens", "labels")))
    if largest >= vocab_size:
        raise OwnShareError(
            f"{stage.name}: token id {largest} in samples {first} to {first + micro - 1} is beyond "
            f"model.vocab_size={vocab_size}; the data is damaged or was encoded with another tokenizer"
        )
    batch["position_ids"] = torch.arange(stage.seq_length).expand(micro, -1)
    return documents.add_to(batch) if documents else batch


def fields_of(dataset: Dataset, index: int) -> tuple[str, ...]:
    """Return what is read of an item of a dataset, and of the others of its step.

    It is ``tokens`` and ``labels``, or what the dataset itself names, for all its items or for each.
    """
    of_each = getattr(dataset, "fields_at", None)
    return of_each(index) if of_each else getattr(dataset, "fields", ("tokens", "labels"))
