"""A part's samples with what teachers say of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDataset

from custom_modules.config.distillation import DistillationConfig
from custom_modules.distillation.rows import Rows

Sample = dict[str, Any]
PLAIN_FIELDS = ("tokens", "labels")


def distilled_fields(distillation: DistillationConfig) -> tuple[str, ...]:
    """Return what is read of a distilled sample."""
    return (
        *PLAIN_FIELDS,
        *(("teacher_ids", "teacher_probabilities") if distillation.distributions else ()),
        *(("loss_mask", "alternative_tokens", "alternative_labels", "alternative_mask") if distillation.texts else ()),
    )


class TaughtWindows(torch.utils.data.Dataset):
    """The samples of a dataset with ``teacher_ids``, int32, and ``teacher_probabilities``, float32: ``[s, T, k]``.

    Row i is what the T teachers say of the token that follows token i; where all of it is 0 they say nothing.

    Args:
        dataset: of one part.
        teachers: the rows of that part, at least one teacher's, all of one k.
    """

    def __init__(self, dataset: GPTDataset, teachers: Sequence[Rows]) -> None:
        self.dataset = dataset
        self.teachers = teachers
        self.index_split = dataset.index_split
        self.unique_identifiers = dataset.unique_identifiers

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self.dataset[index]
        spans = list(_spans(self.dataset, index))
        return {**sample, **read_rows(self.teachers, spans, len(sample["tokens"]))}


def read_rows(teachers: Sequence[Rows], spans: Sequence[tuple[int, int, int]], length: int) -> dict[str, torch.Tensor]:
    """Return what teachers say of a sample's tokens, as `TaughtWindows` has it.

    Args:
        spans: document, offset in it and number of tokens, one behind the other.
        length: of the sample; behind the spans the teachers say nothing.
    """
    shape = (length, len(teachers), teachers[0].note.k)
    ids, probabilities = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    for number, rows in enumerate(teachers):
        start = 0
        for document, offset, tokens in spans:
            end = start + tokens
            ids[start:end, number], probabilities[start:end, number] = rows.rows(document, offset, tokens)
            start = end
    return {"teacher_ids": torch.from_numpy(ids), "teacher_probabilities": torch.from_numpy(probabilities)}


def _spans(dataset: GPTDataset, index: int) -> Iterator[tuple[int, int, int]]:
    """Yield where GPTDataset reads a sample's tokens, without the last label: document, offset, number of tokens."""
    sample = dataset.shuffle_index[index]
    (first, begin), (last, end) = ([int(value) for value in dataset.sample_index[sample + more]] for more in (0, 1))
    for place in range(first, last + 1):
        document = int(dataset.document_index[place])
        offset = begin if place == first else 0
        until = end if place == last else int(dataset.dataset.sequence_lengths[document])
        if until > offset:
            yield document, offset, until - offset
