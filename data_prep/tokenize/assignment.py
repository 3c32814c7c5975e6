"""The stage and group that a document belongs to: a function of its text, so that copies of a text stay together."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.config.schema import Config

Digest = tuple[int, int]
"""Two numbers of 64 bits: the first says which group a text is in, the second which stage."""

Group = Literal["train", "validation", "distilled"]
"""The training split may have a part that is distilled, beside the plain one."""

Destination = tuple[str, str, Group]
"""Stage, source and group: a dataset."""


@dataclass(frozen=True)
class Assignment:
    """Shares out documents by a keyed hash of their text, whatever the order or the process they come in.

    Args:
        wanted: for each source, the tokens that each stage wants of it; stages get its documents in proportion.
        validation_fraction: of the documents, in every stage alike.
        seed: another seed is another, independent assignment.
        distilled_every: one of so many training documents is distilled, in every stage alike; None: none is.
    """

    wanted: Mapping[str, Mapping[str, int]]
    validation_fraction: float
    seed: int
    distilled_every: int | None = None

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
        return cls(wanted, config.data.validation_fraction, config.model.seed, config.distilled_every)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups that documents are in."""
        return ("train", "validation", "distilled") if self.distilled_every else ("train", "validation")

    @cached_property
    def destinations(self) -> list[Destination]:
        """The datasets; the numbers that :meth:`destination` returns index this list."""
        return [
            (stage, source, group)
            for source, stages in self.wanted.items()
            for stage in stages
            for group in self.groups
        ]

    @cached_property
    def _ends(self) -> dict[str, list[int]]:
        return {source: list(accumulate(stages.values())) for source, stages in self.wanted.items()}

    @cached_property
    def _first(self) -> dict[str, int]:
        counts = [len(stages) * len(self.groups) for stages in self.wanted.values()]
        return dict(zip(self.wanted, accumulate([0, *counts]), strict=False))

    @cached_property
    def sources(self) -> list[str]:
        """The sources in their order."""
        return list(self.wanted)

    def digest(self, text: str) -> Digest:
        """Return what of a text decides where it goes."""
        digest = hashlib.blake2b(text.encode(), digest_size=16, key=self.seed.to_bytes(8, "little")).digest()
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")

    def destination(self, text: str, source: str) -> int:
        """Return where a document goes: an index of `destinations`."""
        return self.place(self.digest(text), source)

    def place(self, digest: Digest, source: str) -> int:
        """Return where a text of a digest goes that a source holds alone: an index of `destinations`."""
        for_group, for_stage = digest
        ends = self._ends[source]
        stage = bisect_right(ends, for_stage * ends[-1] >> 64)
        return self._first[source] + stage * len(self.groups) + self._group(for_group)

    def _group(self, number: int) -> int:
        """Return an index of `groups`: the least numbers are of validation, those behind them are distilled."""
        validation = self.validation_fraction * 2**64
        if number < validation:
            return 1
        return 2 if self.distilled_every and (number - validation) * self.distilled_every < 2**64 - validation else 0

    def moved(self, destination: int, digest: Digest, first: int) -> int:
        """Return where a document goes whose text another source holds too.

        That is the stage where that source puts it; where no text of the document's own source is wanted there, it
        goes into the other's dataset.

        Args:
            destination: where it would go alone.
            digest: of its text.
            first: the other source, by its number in `sources`.
        """
        there = self.place(digest, self.sources[first])
        stage, _, group = self.destinations[there]
        own = (stage, self.destinations[destination][1], group)
        return self._numbers.get(own, there)

    @cached_property
    def _numbers(self) -> dict[Destination, int]:
        return {destination: number for number, destination in enumerate(self.destinations)}
