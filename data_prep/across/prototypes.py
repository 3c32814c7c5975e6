"""Self-Supervised-Prototypes Pruning: documents that are typical of their kind are left out.

Sorscher et al. 2022, arXiv:2206.14486: a document's difficulty is its distance to the nearest prototype, a
k-means centroid. With much data the difficult ones are worth keeping, with little the easy ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import PrototypeOptions
from data_prep.input.documents import Removal
from data_prep.semantic.clusters import assign
from data_prep.semantic.embeddings import VectorCorpus

NAME = "prototypes"


def removals(
    paths: Sequence[Path],
    centroids: NDArray[np.float32],
    options: PrototypeOptions,
    without: Mapping[Path, Collection[int]] | None = None,
) -> dict[Path, list[tuple[int, Removal]]]:
    """What to remove of each shard: rows, ascending, and why. Every shard is a key.

    Exactly ``floor(drop_fraction * documents)`` go, over all shards. Which ones depends on neither the cut of the
    shards nor, but for documents of the very same vector, their order. Memory: some 60 bytes a document.

    Args:
        paths: the shards' vectors, in the corpus's order.
        centroids: [clusters, d], of `data_prep.semantic.clusters.fit`.
        without: by shard, rows that an earlier step has removed; they do not count.

    Raises:
        UserError: a broken file, or centroids of another dimension.
    """
    corpus = VectorCorpus.open(paths, without)
    assigned = assign(corpus, centroids, options.seed)
    hard = options.keep == "hard"
    distances = 1 - assigned.cosines
    count = int(Fraction(str(options.drop_fraction)) * len(distances))
    gone = smallest(distances if hard else -distances, assigned.keys, count)
    reason = "near to its prototype" if hard else "far from its prototype"
    reasons = [Removal(NAME, reason, f"distance {distance:.4f}") for distance in distances[gone]]
    return corpus.by_shard(assigned.positions[gone], reasons)


def smallest(values: NDArray[np.float64], keys: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Indices, ascending, of the ``count`` smallest values; of equals those with the smallest keys, then the first.

    Args:
        values, keys: [n] both.

    Returns:
        [count], int64.
    """
    if not count:
        return np.empty(0, np.int64)
    limit = np.partition(values, count - 1)[count - 1]
    below, equal = np.flatnonzero(values < limit), np.flatnonzero(values == limit)
    chosen = equal[np.argsort(keys[equal], kind="stable")][: count - len(below)]
    return np.sort(np.concatenate([below, chosen]))
