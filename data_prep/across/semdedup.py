"""SemDeDup: of documents that say nearly the same one is kept.

Abbas et al. 2023, arXiv:2303.09540, section 3, and https://github.com/facebookresearch/SemDeDup: within a cluster,
documents are put in an order, by default the one least like the centroid first. A document is removed if its cosine
to any document before it is above ``1 - epsilon``, whether or not that one stays. So copies of copies go too, and a
document that stays has no copy before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import SemDedupOptions
from data_prep.input.documents import Removal
from data_prep.semantic.clusters import Assigned, assign
from data_prep.semantic.embeddings import VectorCorpus
from data_prep.semantic.vectors import cosines

NAME = "semdedup"
_BLOCK = 1_024


@dataclass(frozen=True, eq=False)
class Copies:
    """Documents to remove: arrays of [copies]."""

    positions: NDArray[np.int64]
    """Where each stands in the `VectorCorpus`, ascending."""
    kept: NDArray[np.int64]
    """The position of a document that stays: the nearest copy before this one, or the one that is followed to."""
    cosines: NDArray[np.float64]
    """The cosine of each to the nearest copy before it."""


def removals(
    paths: Sequence[Path],
    centroids: NDArray[np.float32],
    options: SemDedupOptions,
    without: Mapping[Path, Collection[int]] | None = None,
) -> dict[Path, list[tuple[int, Removal]]]:
    """What to remove of each shard: rows, ascending, and why. Every shard is a key.

    Which documents they are depends on neither the cut of the shards nor, but for documents of the very same vector,
    their order: of these the first is kept. Memory: some 60 bytes a document, and the vectors of ``rows_in_memory``.

    Args:
        paths: the shards' vectors, in the corpus's order.
        centroids: [clusters, d], of `data_prep.semantic.clusters.fit`.
        without: by shard, rows that an earlier step has removed; they are no copies, and nothing is a copy of them.

    Raises:
        UserError: a broken file, or centroids of another dimension.
    """
    corpus = VectorCorpus.open(paths, without)
    copies = find_copies(corpus, centroids, options)
    reasons = [
        Removal(NAME, "says nearly the same as another", f"cosine {cosine:.4f}, kept {path.name}:{row}")
        for cosine, (path, row) in zip(copies.cosines, corpus.places(copies.kept), strict=True)
    ]
    return corpus.by_shard(copies.positions, reasons)


def find_copies(corpus: VectorCorpus, centroids: NDArray[np.float32], options: SemDedupOptions) -> Copies:
    """Find what `removals` reports, in arrays."""
    assigned = assign(corpus, centroids, options.seed)
    order = _order(assigned, options)
    ends = np.cumsum(np.bincount(assigned.labels, minlength=len(centroids)))
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for begin, cuts in _groups(ends, options.rows_in_memory):
        positions = assigned.positions[order[begin : cuts[-1]]]
        rows = corpus.rows(positions)
        for first, last in zip([begin, *cuts], cuts, strict=False):
            ours = positions[first - begin : last - begin]
            before, cosine = nearest_before(rows[first - begin : last - begin], options.max_cosine)
            gone = before >= 0
            found.append((ours[gone], ours[_followed(before)[gone]], cosine[gone]))
    positions, kept, cosine = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    ascending = np.argsort(positions)
    return Copies(positions[ascending], kept[ascending], cosine[ascending])


def nearest_before(
    rows: NDArray[np.float32], max_cosine: float, block: int = _BLOCK
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find for each row the most similar among those before it, if that is more similar than ``max_cosine``.

    Args:
        rows: [n, d], `data_prep.semantic.vectors.normalized` rows of a cluster, those to keep first.
        block: at most [block, block] cosines are in memory at a time; the outcome does not depend on it.

    Returns:
        [n], int64: its index, of equals the first; -1 where there is none. [n], float64: the cosine.
    """
    found, best = np.full(len(rows), -1, np.int64), np.full(len(rows), max_cosine)
    for start in range(0, len(rows), block):
        ours = slice(start, start + block)
        for begin in range(0, start + 1, block):
            similar = cosines(rows[ours], rows[begin : begin + block])
            if begin == start:
                similar[np.triu_indices_from(similar)] = -np.inf
            top = similar.argmax(axis=1)
            value = similar[np.arange(len(similar)), top]
            better = value > best[ours]
            found[ours][better], best[ours][better] = begin + top[better], value[better]
    return found, best


def _order(assigned: Assigned, options: SemDedupOptions) -> NDArray[np.int64]:
    """Indices of documents: cluster by cluster, and in each those to keep first."""
    likeness = {
        "hard": assigned.cosines,
        "easy": -assigned.cosines,
        "random": np.zeros(len(assigned.keys)),
    }[options.keep]
    return np.lexsort((assigned.positions, assigned.keys, likeness, assigned.labels))


def _groups(ends: NDArray[np.int64], limit: int) -> Iterator[tuple[int, list[int]]]:
    """Group neighbouring clusters of up to ``limit`` documents, or one that is larger: begin, and their ends."""
    begin, cuts = 0, list[int]()
    for end in map(int, ends):
        if cuts and end - begin > limit:
            yield begin, cuts
            begin, cuts = cuts[-1], []
        cuts.append(end)
    if cuts:
        yield begin, cuts


def _followed(before: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow each index to the one before it, and on to one that has none before it."""
    root = np.where(before < 0, np.arange(len(before)), before)
    while not np.array_equal(further := root[root], root):
        root = further
    return root
