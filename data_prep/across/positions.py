"""Where documents stand in the corpus: a document's position counts those of all units before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained
from data_prep.input.documents import DIGEST_BYTES
from data_prep.steps.filter_shard import DIGESTS

_DOCUMENTS_AT_ONCE = 1 << 20


def document_counts(shards: Sequence[Path]) -> list[int]:
    """How many documents each of some folders has that `data_prep.steps.filter_shard.filter_shard` made."""
    counts = []
    for shard in shards:
        with explained(shard):
            counts.append((shard / DIGESTS).stat().st_size // DIGEST_BYTES)
    return counts


def unit_groups(counts: Sequence[int]) -> Iterator[range]:
    """Neighbouring units that have up to about a million documents together, or one that has more.

    Args:
        counts: the documents of each unit.
    """
    begin, documents = 0, 0
    for unit, count in enumerate(counts):
        if documents and documents + count > _DOCUMENTS_AT_ONCE:
            yield range(begin, unit)
            begin, documents = unit, 0
        documents += count
    if begin < len(counts):
        yield range(begin, len(counts))


def offsets_of(counts: Sequence[int]) -> NDArray[np.int64]:
    """The position of each unit's first document in the corpus, and the number of documents: [units + 1]."""
    return np.cumsum([0, *counts], dtype=np.int64)
