"""SemDeDup: of documents that say nearly the same one is kept.

Abbas et al. 2023, arXiv:2303.09540, section 3, and https://github.com/facebookresearch/SemDeDup: within a cluster,
documents are put in an order, by default the one least like the centroid first. A document is removed if its cosine
to any document before it is above ``1 - epsilon``, whether or not that one stays. So copies of copies go too, and a
document that stays has no copy before it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import SemDedupOptions
from custom_modules.files import explained
from data_prep.across.assigned import ASSIGNED, read_assigned
from data_prep.across.drops import Dropped, write_drops
from data_prep.across.partitions import Partitions, between, partition_file
from data_prep.across.positions import unit_groups
from data_prep.input.documents import Removal
from data_prep.semantic.embeddings import VectorCorpus
from data_prep.semantic.vectors import cosines
from data_prep.work.workers import Pool

NAME = "semdedup"
_BLOCK = 1_024


_COPY = np.dtype([("position", "<i8"), ("kept", "<i8"), ("cosine", "<f8")])
"""A document to remove: where it stands; where one that stays does, the nearest copy before this one, or the one that
is followed to; and the cosine to the nearest copy before it."""
COPY_BYTES = _COPY.itemsize
_FOUND = ".found"


def find_copies(
    corpus: VectorCorpus,
    files: Sequence[Path],
    counts: NDArray[np.int64],
    options: SemDedupOptions,
    work: Path,
    workers: Pool,
    into: Path,
) -> int:
    """Find what to remove.

    Which documents they are depends on neither the cut of the shards nor, but for documents of the very same vector,
    their order: of these the first is kept. Memory: the vectors of ``rows_in_memory`` in each process.

    Args:
        files, counts: of `data_prep.across.assigned.assign_units`.
        work: a folder for files on the way, which is made anew.
        into: as `data_prep.across.corpus_step.CorpusStep.find` has it.

    Returns:
        How many documents are dropped.

    Raises:
        UserError: a file that cannot be read or written.
    """
    with explained(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    corpus, ends = replace(corpus, without={}), np.cumsum(counts)
    groups = np.zeros(len(counts), np.int64)
    first = 0
    for number, (_, cuts) in enumerate(_groups(ends, options.rows_in_memory)):
        groups[first : first + len(cuts)] = number
        first += len(cuts)
    for _ in workers.run(_distribute, [(tuple(files), groups, work)]):
        pass
    paths = [partition_file(work, number) for number in range(int(groups.max(initial=-1)) + 1)]
    for _ in workers.run(_compare, [(corpus, path, options) for path in paths]):
        pass
    calls = [(corpus, work, len(paths), units, into) for units in unit_groups(np.diff(corpus.offsets).tolist())]
    found = sum(dropped for _, dropped in workers.run(_write, calls))
    shutil.rmtree(work, ignore_errors=True)
    return found


def _distribute(files: Sequence[Path], groups: NDArray[np.int64], work: Path) -> None:
    with Partitions(work, ASSIGNED) as into:
        for file in files:
            records = read_assigned(file)
            into.add(records, groups[records["label"]])


def _compare(corpus: VectorCorpus, path: Path, options: SemDedupOptions) -> None:
    """Write the copies in a file of whole clusters beside it, ascending."""
    if not path.exists():
        return
    assigned = read_assigned(path)
    assigned = assigned[_order(assigned, options)]
    rows = _rows(corpus, assigned["position"], path.with_suffix(".rows"), options.rows_in_memory)
    found = [np.empty(0, _COPY)]
    begins = np.flatnonzero(np.diff(assigned["label"], prepend=-1))
    for first, last in pairwise([*begins.tolist(), len(assigned)]):
        positions = assigned["position"][first:last]
        before, cosine = nearest_before(rows[first:last], options.max_cosine, _BLOCK)
        gone = before >= 0
        copies = np.empty(int(gone.sum()), _COPY)
        copies["position"], copies["kept"] = positions[gone], positions[_followed(before)[gone]]
        copies["cosine"] = cosine[gone]
        found.append(copies)
    every = np.concatenate(found)
    every.sort(order="position")
    with explained(path):
        path.with_suffix(_FOUND).write_bytes(every.tobytes())
        path.with_suffix(".rows").unlink(missing_ok=True)
        path.unlink()


def _rows(corpus: VectorCorpus, positions: NDArray[np.int64], path: Path, limit: int) -> NDArray[np.float32]:
    """Rows of documents; from a file where they are more than may be in memory."""
    if len(positions) <= limit:
        return corpus.rows(positions)
    with explained(path), path.open("wb") as file:
        for begin in range(0, len(positions), limit):
            file.write(corpus.rows(positions[begin : begin + limit]).data)
    return np.memmap(path, np.float32, mode="r").reshape(-1, corpus.dimension)


def _write(corpus: VectorCorpus, work: Path, files: int, units: range, into: Path) -> int:
    """Write what is dropped of some units."""
    offsets = corpus.offsets[units.start : units.stop + 1]
    paths = (partition_file(work, number).with_suffix(_FOUND) for number in range(files))
    copies = np.concatenate([np.empty(0, _COPY), *(between(path, _COPY, offsets[0], offsets[-1]) for path in paths)])
    copies.sort(order="position")
    return sum(
        write_drops(into, unit, _removals(corpus, copies[first:last], int(begin)))
        for unit, begin, (first, last) in zip(
            units, offsets, pairwise(np.searchsorted(copies["position"], offsets)), strict=False
        )
    )


def _removals(corpus: VectorCorpus, copies: NDArray[Any], begin: int) -> Iterator[Dropped]:
    indices = (copies["position"] - begin).tolist()
    for index, cosine, (path, row) in zip(indices, copies["cosine"], corpus.places(copies["kept"]), strict=True):
        detail = f"cosine {cosine:.4f}, kept {path.name}:{row}"
        yield index, Removal(NAME, "says nearly the same as another", detail)


def nearest_before(
    rows: NDArray[np.float32], max_cosine: float, block: int
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


def _order(assigned: NDArray[Any], options: SemDedupOptions) -> NDArray[np.int64]:
    """Indices of documents: cluster by cluster, and in each those to keep first."""
    likeness = {
        "hard": assigned["cosine"],
        "easy": -assigned["cosine"],
        "random": np.zeros(len(assigned)),
    }[options.keep]
    return np.lexsort((assigned["position"], assigned["key"], likeness, assigned["label"]))


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
