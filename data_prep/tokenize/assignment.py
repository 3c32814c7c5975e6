"""The stage and split that a document belongs to: a function of its text, so that copies of a text stay together."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from custom_modules.data.manifest import Split
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.config.schema import Config

SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Assignment:
    """Shares out documents by a keyed hash of their text, whatever the order or the process they come in.

    Args:
        wanted: for each source, the tokens that each stage wants of it; stages get its documents in proportion.
        validation_fraction: of the documents, in every stage alike.
        seed: another seed is another, independent assignment.
    """

    wanted: Mapping[str, Mapping[str, int]]
    validation_fraction: float
    seed: int

    @classmethod
    def from_config(cls, config: Config) -> Assignment:
        """What the stages' budgets and mixes ask for.

        Raises:
            UserError: a source that is in no stage's mix.
        """
        wanted: dict[str, dict[str, int]] = {source: {} for source in config.data.source_names}
        for name, stage in config.curriculum.stages.items():
            for source in stage.mix or config.data.source_names:
                share = stage.mix[source] if stage.mix else 1
                wanted[source][name] = max(1, round(stage.tokens * share))
        idle = [source for source, stages in wanted.items() if not stages]
        if idle:
            raise UserError(f"data.sources.{idle[0]}: in no stage's mix; give it a share of one, or leave it out")
        return cls(wanted, config.data.validation_fraction, config.model.seed)

    @cached_property
    def destinations(self) -> list[tuple[str, str, Split]]:
        """Stage, source and split; the numbers that :meth:`destination` returns index this list."""
        return [
            (stage, source, split) for source, stages in self.wanted.items() for stage in stages for split in SPLITS
        ]

    @cached_property
    def _ends(self) -> dict[str, list[int]]:
        return {source: list(accumulate(stages.values())) for source, stages in self.wanted.items()}

    @cached_property
    def _first(self) -> dict[str, int]:
        counts = [len(stages) * len(SPLITS) for stages in self.wanted.values()]
        return dict(zip(self.wanted, accumulate([0, *counts]), strict=False))

    def destination(self, text: str, source: str) -> int:
        digest = hashlib.blake2b(text.encode(), digest_size=16, key=self.seed.to_bytes(8, "little")).digest()
        for_split, for_stage = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        ends = self._ends[source]
        stage = bisect_right(ends, for_stage * ends[-1] >> 64)
        validation = for_split < self.validation_fraction * 2**64
        return self._first[source] + stage * len(SPLITS) + validation
