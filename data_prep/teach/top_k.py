"""From a teacher's logits to the student's most probable tokens, the same bits whatever adds them up."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from custom_modules.distillation.rows import MOST_IDS

_AT_ONCE = 256
_SCALE = 1 << 40
"""Probabilities are added up as whole numbers of 2^-40: in any order, as on a GPU, they come out alike."""
_ID_BITS = MOST_IDS.bit_length() - 1


class StudentsTopK:
    """Adds up a teacher's probabilities over the student's tokens, and keeps the largest.

    Args:
        mapping: [teacher's tokens], int32: the student's ids; below 0 for what it does not say.
        teacher_size: logits at a position: at least the teacher's tokens.
        vocab_size: of the student.
        k: tokens to keep at each position.
    """

    def __init__(
        self, mapping: NDArray[np.int32], teacher_size: int, vocab_size: int, k: int, device: torch.device
    ) -> None:
        assert len(mapping) <= teacher_size and vocab_size <= MOST_IDS
        places = torch.full((teacher_size,), vocab_size, dtype=torch.int64)
        places[: len(mapping)] = torch.from_numpy(np.where(mapping < 0, vocab_size, mapping).astype(np.int64))
        self._places = places.to(device)
        self._vocab_size = vocab_size
        self._k = k
        self._ranks = torch.arange(MOST_IDS - 1, MOST_IDS - 1 - vocab_size, -1, device=device)

    def __call__(self, logits: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return ids and probabilities, [n, k] each, of logits [n, teacher_size]; the larger probability first, and of
        equal ones the smaller id. Where there are fewer than k, what is left is 0."""
        found = [self._some(piece) for piece in logits.split(_AT_ONCE)]
        keys = torch.cat(found).cpu().numpy() if found else np.zeros((0, self._k), np.int64)
        probabilities = (keys >> _ID_BITS).astype(np.float64) / _SCALE
        ids = np.where(probabilities > 0, MOST_IDS - 1 - (keys & (MOST_IDS - 1)), 0)
        return ids, probabilities

    def _some(self, logits: Tensor) -> Tensor:
        whole = (torch.softmax(logits.float(), dim=-1).double() * _SCALE).round().long()
        sums = torch.zeros(len(whole), self._vocab_size + 1, dtype=torch.int64, device=logits.device)
        sums.scatter_add_(1, self._places.expand(len(whole), -1), whole)
        keys = (sums[:, :-1] << _ID_BITS) | self._ranks
        kept = keys.topk(min(self._k, self._vocab_size), dim=-1).values
        return torch.nn.functional.pad(kept, (0, self._k - kept.shape[1]))
