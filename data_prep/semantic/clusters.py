"""k-means on the sphere: centroids of a corpus from a bounded sample of it, and every document's nearest one.

SemDeDup (arXiv:2303.09540, section 3) and Self-Supervised-Prototypes Pruning (arXiv:2206.14486) both begin with it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import SemanticOptions
from custom_modules.errors import UserError
from data_prep.semantic.embeddings import VectorCorpus
from data_prep.semantic.vectors import cosines, normalized, row_keys

_BATCH = 1_024
_BLOCK = 4_096
_VECTORS_A_CLUSTER = 16
_PENDING = 4
"""The part of a sample that may wait to be merged into it."""


def cluster_count(documents: int, sampled: int) -> int:
    """The square root of the number of documents, but no more than a sixteenth of the sample; at least 1.

    The cost of assigning grows with clusters, that of comparing falls with them; with the square root both are alike.
    """
    return max(1, min(math.isqrt(documents), sampled // _VECTORS_A_CLUSTER))


def fit(
    paths: Sequence[Path], options: SemanticOptions, without: Mapping[Path, Iterable[int]] | None = None
) -> NDArray[np.float32]:
    """Centroids of all documents in some shards. They depend on neither the order of the shards nor their cut.

    Args:
        without: by shard, rows that an earlier step has removed.

    Returns:
        [clusters, d], float32, `normalized` rows.

    Raises:
        UserError: a broken file, no document, or more clusters than there are different vectors.
    """
    corpus = VectorCorpus.open(paths, without)
    sample = sample_vectors(corpus, options.sample, options.seed)
    if not len(sample):
        raise UserError(f"data.input: none of its documents is left in {len(paths)} shards; give more text")
    clusters = options.clusters or cluster_count(corpus.documents, len(sample))
    if clusters > len(sample):
        raise UserError(
            f"clusters={clusters}: there are only {len(sample)} different vectors to train them on; use fewer, or null"
        )
    return train(sample, clusters, options.seed)


def sample_vectors(corpus: VectorCorpus, size: int, seed: int) -> NDArray[np.float32]:
    """The ``size`` different `normalized` rows with the smallest `row_keys`, in order: at most [size, d], float32."""
    keys, rows = np.empty(0, np.uint64), np.empty((0, corpus.dimension), np.float32)
    pending: list[tuple[NDArray[np.uint64], NDArray[np.float32]]] = []
    limit, waiting = np.uint64(2**64 - 1), 0

    def merged() -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        all_keys, all_rows = (np.concatenate(each) for each in zip((keys, rows), *pending, strict=True))
        smallest, first = np.unique(all_keys, return_index=True)
        return smallest[:size], all_rows[first[:size]]

    for _, block in corpus.blocks():
        block_keys = row_keys(block, seed)
        small = block_keys <= limit
        pending.append((block_keys[small], block[small]))
        waiting += int(small.sum())
        if waiting > size // _PENDING:
            keys, rows = merged()
            pending, waiting = [], 0
            limit = keys[-1] if len(keys) == size else limit
    return merged()[1]


def train(sample: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.float32]:
    """Run mini-batch k-means on [n, d] `normalized` rows; centroids are put back on the sphere: [clusters, d]."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    model = MiniBatchKMeans(
        n_clusters=clusters,
        batch_size=_BATCH,
        init_size=min(len(sample), max(3 * _BATCH, 3 * clusters)),
        n_init=1,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(sample)
    return normalized(model.cluster_centers_)


def nearest(rows: NDArray[np.float32], centroids: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Find each `normalized` row's, [n, d], centroid of the largest cosine, [n], and that, [n]; of equals the first.

    Args:
        centroids: [clusters, d], `normalized` rows.
    """
    labels, best = np.zeros(len(rows), np.int32), np.full(len(rows), -np.inf)
    for begin in range(0, len(centroids), _BLOCK):
        found = cosines(rows, centroids[begin : begin + _BLOCK])
        top = found.argmax(axis=1)
        value = found[np.arange(len(rows)), top]
        better = value > best
        labels[better], best[better] = begin + top[better], value[better]
    return labels, best


@dataclass(frozen=True, eq=False)
class Assigned:
    """The documents of a corpus that are not left out: arrays of [documents]."""

    positions: NDArray[np.int64]
    """Ascending."""
    labels: NDArray[np.int32]
    """The cluster of each."""
    cosines: NDArray[np.float64]
    """The cosine of each to its centroid."""
    keys: NDArray[np.uint64]
    """The `row_keys` of each vector: what decides between documents that are alike otherwise."""


def assign(corpus: VectorCorpus, centroids: NDArray[np.float32], seed: int) -> Assigned:
    """
    Raises:
        UserError: centroids of another dimension, or a vector that is not finite.
    """
    if corpus.paths and centroids.shape[1] != corpus.dimension:
        raise UserError(
            f"{corpus.paths[0]}: vectors of {corpus.dimension} numbers, the centroids have {centroids.shape[1]}; fit "
            "them on these vectors"
        )
    pieces = [(at, *nearest(rows, centroids), row_keys(rows, seed)) for at, rows in corpus.blocks()]
    empty = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0), np.empty(0, np.uint64))
    return Assigned(*(np.concatenate(arrays) for arrays in zip(empty, *pieces, strict=True)))
