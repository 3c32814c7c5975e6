"""A part's documents, one a sample, beside the texts that teachers have made of their beginnings."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split
from numpy.typing import NDArray

from custom_modules.data.taught import Sample, read_rows
from custom_modules.data.teachers import Said

Row = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Tokens, labels, and 1 where a label counts: ``[seq_length]`` each."""


class TaughtDocuments(torch.utils.data.Dataset):
    """Whole documents in an order of its own, each cut at the length or filled up with ends.

    A sample has ``tokens`` and ``labels``, int64 ``[s]``, the teachers' rows beside them, where there are any, and
    ``loss_mask``, float32 ``[s]``; and of the A teachers with texts ``alternative_tokens``, ``alternative_labels`` and
    ``alternative_mask`` likewise, ``[A, s]``. The tokens behind the prefix count, up to the end of each one's own; of a
    document that has none all do. An alternative that is not there counts nowhere.

    Args:
        documents: the part.
        said: of its teachers.
        prefix_tokens: which the documents and their alternatives share.
        eos_id: what fills up a sample.
        seed: of the order.
    """

    index_split = Split.train

    def __init__(
        self, documents: IndexedDataset, said: Said, seq_length: int, prefix_tokens: int, eos_id: int, seed: int
    ) -> None:
        self.documents = documents
        self.said = said
        self.texts = [IndexedDataset(str(prefix)) for prefix in said.texts]
        self.seq_length = seq_length
        self.prefix_tokens = prefix_tokens
        self.eos_id = eos_id
        self.seed = seed
        self.unique_identifiers = {"documents": len(documents), "seq_length": seq_length, "seed": seed}

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def _order(self) -> NDArray[np.uint32]:
        """NumPy's `RandomState` gives the same numbers in every version; its `Generator` need not."""
        order = np.arange(len(self), dtype=np.uint32)
        np.random.RandomState(self.seed).shuffle(order)
        return order

    def __getitem__(self, index: int) -> Sample:
        number = int(self._order[index])
        document = self.documents[number]
        tokens, labels, mask = self._row(document)
        sample: dict[str, Any] = {"tokens": tokens, "labels": labels, "loss_mask": mask}
        if self.texts:
            rows = [self._alternative(texts[number]) for texts in self.texts]
            names = ("alternative_tokens", "alternative_labels", "alternative_mask")
            sample |= {name: np.stack(arrays) for name, arrays in zip(names, zip(*rows, strict=True), strict=True)}
        fields = {name: torch.from_numpy(array) for name, array in sample.items()}
        if self.said.rows:
            span = (number, 0, min(len(document), self.seq_length))
            fields |= read_rows(self.said.rows, [span], self.seq_length)
        return fields

    def _row(self, document: NDArray[np.integer]) -> Row:
        row = np.full(self.seq_length + 1, self.eos_id, np.int64)
        kept = min(len(document), self.seq_length + 1)
        row[:kept] = document[:kept]
        mask = np.zeros(self.seq_length, np.float32)
        mask[self.prefix_tokens - 1 if kept > self.prefix_tokens else 0 : max(kept - 1, 0)] = 1
        return row[:-1].copy(), row[1:].copy(), mask

    def _alternative(self, text: NDArray[np.integer]) -> Row:
        if len(text) > self.prefix_tokens:
            return self._row(text)
        return self._row(text[:0])
