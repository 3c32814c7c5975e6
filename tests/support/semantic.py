"""Shards of given vectors, planted copies of them, and the words of a small encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data_steps.options import PrototypeOptions, SemanticOptions, SemDedupOptions
from data_prep.across.assigned import assign_units
from data_prep.across.drops import Dropped
from data_prep.across.prototypes import find_typical
from data_prep.across.semdedup import find_copies
from data_prep.semantic.embeddings import VectorCorpus, write_vectors
from tests.support.drops import read_drops
from tests.support.pools import Here

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [f"w{number}" for number in range(400)]


def write_shards(folder: Path, vectors: NDArray[Any], cuts: Sequence[int] = ()) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    pieces = np.split(vectors, list(cuts))
    paths = [folder / f"{number:05d}.npy" for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        write_vectors(path, piece)
    return paths


def semantic_removals(
    paths: Sequence[Path],
    centroids: NDArray[np.float32],
    options: SemanticOptions,
    without: Mapping[Path, Iterable[int]] | None = None,
) -> dict[Path, list[Dropped]]:
    """What the step of the options drops of each shard: rows, ascending, and why. Every shard is a key."""
    corpus = VectorCorpus.open(paths, without)
    with TemporaryDirectory() as name:
        work, into = Path(name), Path(name) / "drops"
        into.mkdir()
        files, counts = assign_units(corpus, centroids, options.seed, work / "clusters", Here())
        if isinstance(options, SemDedupOptions):
            dropped = find_copies(corpus, files, counts, options, work / "compared", Here(), into)
        else:
            assert isinstance(options, PrototypeOptions)
            dropped = find_typical(corpus, files, counts, options, Here(), into)
        found = dict(zip(paths, read_drops(into, len(paths)), strict=True))
    assert dropped == sum(map(len, found.values()))
    return found


@dataclass(frozen=True)
class Planted:
    vectors: NDArray[np.float32]
    """[n, d], not normalised."""
    original: NDArray[np.int64]
    """[n]: which of the originals a vector is or is a copy of."""


def plant(
    topics: int = 20, originals: int = 1500, copies: int = 300, dimension: int = 64, noise: float = 0.1, seed: int = 0
) -> Planted:
    source = np.random.default_rng(seed)
    centres = source.normal(size=(topics, dimension))
    first = centres[source.integers(topics, size=originals)] + 0.8 * source.normal(size=(originals, dimension))
    of = source.integers(originals, size=copies)
    lengths = np.linalg.norm(first[of], axis=1, keepdims=True)
    near = first[of] + noise * lengths * source.normal(size=(copies, dimension)) / np.sqrt(dimension)
    order = source.permutation(originals + copies)
    vectors = np.concatenate([first, near * source.uniform(0.5, 2, size=(copies, 1))])
    return Planted(vectors[order].astype(np.float32), np.concatenate([np.arange(originals), of])[order])
