"""Windows of random tokens, for where the time of a step is asked for and not what it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from custom_modules.data.dataset import Dataset


class RandomTokens(Dataset):
    """A dataset of as many windows as are asked for, each the same whenever it is read.

    Args:
        seq_length: of ``tokens`` and ``labels``, int64, which are one apart.
        vocab_size: ids are below it.
    """

    def __init__(self, seq_length: int, vocab_size: int) -> None:
        self.seq_length = seq_length
        self.vocab_size = vocab_size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        window = torch.randint(0, self.vocab_size, (self.seq_length + 1,), generator=generator)
        return {"tokens": window[:-1], "labels": window[1:]}


class RandomAnswers(RandomTokens):
    """The same with a ``loss_mask``, fp32, in which every label counts."""

    fields = ("tokens", "labels", "loss_mask")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**super().__getitem__(index), "loss_mask": torch.ones(self.seq_length)}


class RandomSamples:
    """Samples of one length, each the same whenever it is read, in which every token counts.

    Args:
        vocab_size: ids are below it.
    """

    folder = Path("random samples")

    def __init__(self, count: int, length: int, vocab_size: int) -> None:
        self.lengths: NDArray[np.int32] = np.full(count, length, np.int32)
        """[samples], int32: tokens of each."""
        self.vocab_size = vocab_size

    def __getitem__(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return ids, [tokens], int64, and which of them are of an answer, [tokens], bool."""
        length = int(self.lengths[number])
        ids = np.random.RandomState(number).randint(self.vocab_size, size=length, dtype=np.int64)
        return ids, np.ones(length, np.bool_)
