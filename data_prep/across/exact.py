"""Exact copies: texts that are equal once case, accents' form, white space and punctuation are put aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.input.documents import DIGEST_BYTES, Removal
from data_prep.steps.filter_shard import DIGESTS
from data_prep.work.workers import Pool

NAME = "exact"
_AT_ONCE = 1 << 24


class ExactCopies:
    """Drops all but the first of every group of documents of the same words."""

    name = NAME
    heading = "exact copies"

    def __init__(self) -> None:
        self.options: Mapping[str, object] = {}

    def find(
        self, shards: Sequence[Path], dropped: Sequence[Mapping[int, Removal]], work: Path, workers: Pool
    ) -> list[dict[int, Removal]]:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        return find_copies([shard / DIGESTS for shard in shards])


def find_copies(files: Sequence[Path]) -> list[dict[int, Removal]]:
    """All but the first of every group of copies.

    Digests are compared in turns by their first bits, so that memory stays flat.

    Args:
        files: the digests of each unit's documents, in order; [documents] x 16 bytes.

    Returns:
        For each unit the documents to drop, by their index in it.
    """
    sizes = [path.stat().st_size // DIGEST_BYTES for path in files]
    turns = -(-max(sum(sizes), 1) // _AT_ONCE)
    drops: list[dict[int, Removal]] = [{} for _ in files]
    for turn in range(turns):
        values, owners, indices = [], [], []
        for unit, path in enumerate(files):
            digests = np.fromfile(path, "<u8").reshape(-1, 2)
            mine = np.flatnonzero(digests[:, 0] % turns == turn)
            values.append(digests[mine])
            owners.append(np.full(mine.size, unit))
            indices.append(mine)
        value, owner, index = np.concatenate(values), np.concatenate(owners), np.concatenate(indices)
        _, first, group = np.unique(value, axis=0, return_index=True, return_inverse=True)
        original = first[group.reshape(-1)]
        for copy in np.flatnonzero(original != np.arange(original.size)):
            kept = original[copy]
            detail = f"unit {owner[kept]}, document {index[kept]} is the same"
            drops[owner[copy]][int(index[copy])] = Removal(NAME, "a copy of another document", detail)
    return drops
