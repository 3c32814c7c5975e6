"""Clusters of near copies, in a file: the document of each that datatrove's ``MinhashDedupCluster`` keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained
from data_prep.across.near_pairs import PAIR
from data_prep.across.partitions import pieces_of

_PAIRS_AT_ONCE = 1 << 16
_WRITTEN_AT_ONCE = 1 << 20


def link_dtype(documents: int) -> np.dtype[Any]:
    """Return the type of a link of so many documents."""
    return np.dtype("<i4" if documents < 2**31 else "<i8")


def join_pairs(pairs: Sequence[Path], documents: int, links: Path) -> None:
    """Unite the documents of each pair, in the order of the pairs: of two clusters the smaller joins the larger.

    Of clusters of one size the second joins the first, as in datatrove.

    Args:
        pairs: files of [pairs, 2], `data_prep.across.near_pairs.PAIR`.
        documents: of the corpus.
        links: the file to write: [documents], `link_dtype`: the position of the document that one has joined; of one
            that is kept, minus the size of its cluster.

    Raises:
        UserError: a file that cannot be read or written.
    """
    dtype = link_dtype(documents)
    with explained(links):
        with links.open("wb") as file:  # all of it, for a full disk is an error here and kills who writes into a map
            for begin in range(0, documents, _WRITTEN_AT_ONCE):
                file.write(np.full(min(_WRITTEN_AT_ONCE, documents - begin), -1, dtype).data)
        if not documents:
            return
        mapped = np.memmap(links, dtype, mode="r+")
    for path in pairs:
        for numbers in pieces_of(path, PAIR, 2 * _PAIRS_AT_ONCE):
            _join(mapped, numbers)
    mapped.flush()


def _join(links: NDArray[Any], numbers: NDArray[np.int64]) -> None:
    roots = _roots(links, numbers)
    inner = roots != numbers
    links[numbers[inner]] = roots[inner]
    ends = roots.reshape(-1, 2)
    apart = ends[ends[:, 0] != ends[:, 1]].tolist()
    link = memoryview(links.data)
    for one, other in apart:
        while (above := link[one]) >= 0:
            one = above
        while (above := link[other]) >= 0:
            other = above
        if one == other:
            continue
        if link[one] > link[other]:
            one, other = other, one
        link[one] += link[other]
        link[other] = one


def _roots(links: NDArray[Any], documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Follow every document to the one that is kept."""
    while True:
        above = links[documents]
        joined = above >= 0
        if not joined.any():
            return documents
        documents = np.where(joined, above, documents).astype(np.int64)
