"""Windows of random tokens with random teachers' targets, for the time and memory of a distilled step."""

from __future__ import annotations

import torch
from torch import Tensor

from custom_modules.config.distillation import DistillationConfig
from custom_modules.data.random_tokens import RandomTokens


class RandomTargets(RandomTokens):
    """`RandomTokens` with the fields of a distilled sample, each the same whenever it is read.

    Args:
        seq_length, vocab_size: as `RandomTokens` has them.
        distillation: says how many teachers have distributions, over how many tokens, and how many have texts.
    """

    def __init__(self, seq_length: int, vocab_size: int, distillation: DistillationConfig) -> None:
        super().__init__(seq_length, vocab_size)
        self.distributions = len(distillation.distributions)
        self.texts = len(distillation.texts)
        self.top_k = distillation.top_k
        self.fields = tuple(self[0])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = super().__getitem__(index)
        generator = torch.Generator().manual_seed(index)
        if self.distributions:
            shape = (self.seq_length, self.distributions, self.top_k)
            sample["teacher_ids"] = torch.randint(0, self.vocab_size, shape, generator=generator, dtype=torch.int32)
            sample["teacher_probabilities"] = torch.rand(shape, generator=generator) / self.top_k
        if self.texts:
            windows = torch.randint(0, self.vocab_size, (self.texts, self.seq_length + 1), generator=generator)
            sample["loss_mask"] = torch.ones(self.seq_length)
            sample["alternative_tokens"], sample["alternative_labels"] = windows[:, :-1], windows[:, 1:]
            sample["alternative_mask"] = torch.ones(self.texts, self.seq_length)
        return sample
