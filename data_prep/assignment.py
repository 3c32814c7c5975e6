"""Which stage and split a document belongs to: a function of its text, so that copies of a text stay together."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

Split = Literal["train", "validation"]

SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Assignment:
    """Shares out documents by a keyed hash of their text, whatever the order or the process they come in.

    Args:
        budgets: a stage's tokens by its name; each stage gets documents in proportion.
        validation_fraction: of the documents, in every stage alike.
        seed: another seed is another, independent assignment.
    """

    budgets: Mapping[str, int]
    validation_fraction: float
    seed: int

    @property
    def destinations(self) -> list[tuple[str, Split]]:
        """Every stage with both of its splits; the numbers that :meth:`destination` returns index this list."""
        return [(stage, split) for stage in self.budgets for split in SPLITS]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self.budgets.values()))

    def destination(self, text: str) -> int:
        digest = hashlib.blake2b(text.encode(), digest_size=16, key=self.seed.to_bytes(8, "little")).digest()
        for_split, for_stage = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        stage = bisect_right(self._ends, for_stage * self._ends[-1] >> 64)
        validation = for_split < self.validation_fraction * 2**64
        return stage * len(SPLITS) + validation
