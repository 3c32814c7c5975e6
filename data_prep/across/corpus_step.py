"""What a step is that has to see the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from data_prep.input.documents import Removal
from data_prep.work.workers import Pool


class CorpusStep(Protocol):
    """A step that compares documents with each other; all steps that look at one alone have run before."""

    name: str
    options: Mapping[str, object]
    """What defines its outcome beside the documents: plain values, part of the dataset's identity."""
    heading: str
    """What it calls the documents it drops, such as ``exact copies``."""

    def find(
        self, shards: Sequence[Path], dropped: Sequence[Mapping[int, Removal]], work: Path, workers: Pool
    ) -> list[dict[int, Removal]]:
        """Find what to drop.

        Args:
            shards: the folder of each unit that `data_prep.steps.filter_shard.filter_shard` made.
            dropped: the documents of each unit, by index, that earlier such steps have dropped.
            work: a folder for what is made on the way, which a later run finds again.

        Returns:
            For each unit the documents to drop, by their index in it.

        Raises:
            UserError: a file that cannot be read or written.
        """
