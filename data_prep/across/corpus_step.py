"""What a step is that has to see the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from data_prep.across.drops import Drops
from data_prep.work.workers import Pool


class CorpusStep(Protocol):
    """A step that compares documents with each other; all steps that look at one alone have run before."""

    name: str
    options: Mapping[str, object]
    """What defines its outcome beside the documents: plain values, part of the dataset's identity."""
    heading: str
    """What it calls the documents it drops, such as ``exact copies``."""

    def find(self, shards: Sequence[Path], dropped: Sequence[Drops], work: Path, workers: Pool, into: Path) -> int:
        """Find what to drop, in memory that does not grow with the corpus.

        Args:
            shards: the folder of each unit that `data_prep.steps.filter_shard.filter_shard` made.
            dropped: the documents of each unit that earlier such steps have dropped.
            work: a folder for what is made on the way, which a later run may find again.
            into: where `data_prep.across.drops.write_drops` writes what is dropped of each unit.

        Returns:
            How many documents are dropped.

        Raises:
            UserError: a file that cannot be read or written.
        """
