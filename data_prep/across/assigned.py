"""The cluster of every document, in a file a unit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained
from data_prep.semantic.clusters import assign
from data_prep.semantic.embeddings import VectorCorpus, write_vectors
from data_prep.work.workers import Pool

ASSIGNED = np.dtype([("position", "<i8"), ("label", "<i4"), ("cosine", "<f8"), ("key", "<u8")])
"""A document that is not left out: what `data_prep.semantic.clusters.Assigned` has of it."""


def read_assigned(file: Path) -> NDArray[Any]:
    """Return a unit's documents, ascending: [documents], `ASSIGNED`.

    Raises:
        UserError: the file cannot be read.
    """
    with explained(file):
        return np.fromfile(file, ASSIGNED)


def assign_units(
    corpus: VectorCorpus, centroids: NDArray[np.float32], seed: int, work: Path, workers: Pool
) -> tuple[tuple[Path, ...], NDArray[np.int64]]:
    """Find the cluster of every document that is not left out.

    Args:
        centroids: [clusters, d], of `data_prep.semantic.clusters.fit`.
        work: a folder for the files, which is made anew.

    Returns:
        The file of each unit, and the documents of each cluster: [clusters].

    Raises:
        UserError: a broken file of vectors, centroids of another dimension, or a file that cannot be written.
    """
    with explained(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    write_vectors(work / "centroids.npy", centroids)
    files = tuple(work / f"{unit:06d}.bin" for unit in range(len(corpus.paths)))
    calls = [
        (corpus.part(unit), int(corpus.offsets[unit]), work / "centroids.npy", seed, file)
        for unit, file in enumerate(files)
    ]
    counts = np.zeros(len(centroids), np.int64)
    for _, of_unit in workers.run(_assign, calls):
        counts += of_unit
    return files, counts


def _assign(corpus: VectorCorpus, begin: int, centroids: Path, seed: int, file: Path) -> NDArray[np.int64]:
    """Write a unit's file; returns its documents of each cluster."""
    with explained(centroids):
        means = np.load(centroids)
    found = assign(corpus, means, seed)
    records = np.empty(len(found.labels), ASSIGNED)
    records["position"] = found.positions + begin
    records["label"], records["cosine"], records["key"] = found.labels, found.cosines, found.keys
    with explained(file):
        file.write_bytes(records.tobytes())
    return np.bincount(found.labels, minlength=len(means))
