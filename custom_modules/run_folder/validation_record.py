"""What a checkpoint keeps of a validation, for a conversion to compare with. Needs no megatron."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.data import Dataset


@dataclass(frozen=True)
class ValidationRecord:
    """What the model as it was trained, in its own precision, made of the first validation sequences."""

    stage: str
    """The stage whose validation set it is, in its sequence length."""
    seq_length: int
    micro_batch_size: int
    losses: list[float]
    """Mean cross-entropy of each micro-batch, in nats a token that is scored, in the order of the validation set."""
    sha256: str
    """The hash of these sequences: see `sequences_sha256`."""
    tokens: list[int] | None = None
    """How many tokens of each micro-batch are scored; None: all."""

    @property
    def weights(self) -> list[int]:
        """How many tokens of each micro-batch are scored."""
        return self.tokens or [self.micro_batch_size * self.seq_length] * len(self.losses)


def sequences_sha256(dataset: Dataset, count: int) -> str:
    """Hash the tokens and labels, int64 ``[seq_length]``, of a dataset's first ``count`` sequences, and their masks."""
    digest = hashlib.sha256()
    for index in range(count):
        sample = dataset[index]
        for name in getattr(dataset, "fields", ("tokens", "labels")):
            digest.update(sample[name].numpy().astype("<i8").tobytes())
    return digest.hexdigest()
