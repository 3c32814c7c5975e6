"""Vectors of a corpus in files: one ``.npy`` a shard, a row a document, read in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_stream
from data_prep.semantic.vectors import normalized

_ROWS_AT_ONCE = 8_192


class TextEncoder(Protocol):
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts: [texts, d], float32."""


def embed_shard(
    encoder: TextEncoder, texts: Sequence[str], path: Path, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Publish the vectors of a shard's texts, in their order, as ``path``: [texts, d] of ``dtype``.

    Raises:
        UserError: a vector that is not finite, or a file that cannot be written.
    """
    write_vectors(path, encoder.embed(texts).astype(dtype))


def write_vectors(path: Path, vectors: NDArray[np.floating[Any]]) -> None:
    """Write aside, then rename: the file is there whole or not at all.

    Raises:
        UserError: a vector that is not finite, or a file that cannot be written.
    """
    _check_finite(path, vectors, 0)
    with whole_stream(path) as file:
        content = BytesIO()  # what numpy itself writes into a file fails without a reason
        np.save(content, vectors, allow_pickle=False)
        file.write(content.getbuffer())


@dataclass(frozen=True, eq=False)
class VectorCorpus:
    """All shards, one behind the other. A document's position is its row in that order, from 0."""

    paths: Sequence[Path]
    offsets: NDArray[np.int64]
    """The position of each shard's first document, and the number of documents: [shards + 1]."""
    dimension: int
    without: Mapping[Path, Iterable[int]]
    """By shard, the rows that an earlier step has removed; iterated whenever the shard is read."""

    @classmethod
    def open(cls, paths: Sequence[Path], without: Mapping[Path, Iterable[int]] | None = None) -> VectorCorpus:
        """Read how many rows each file has.

        Args:
            without: by shard, the rows that do not count any more.

        Raises:
            UserError: a file that is missing, broken or of another dimension.
        """
        shapes = [_mapped(path).shape for path in paths]
        for path, shape in zip(paths, shapes, strict=True):
            if shape[1] != shapes[0][1]:
                raise UserError(
                    f"{path}: vectors of {shape[1]} numbers, {paths[0]} has {shapes[0][1]}; delete both, and embed "
                    "them with the same encoder"
                )
        offsets = np.cumsum([0, *(shape[0] for shape in shapes)], dtype=np.int64)
        return cls(tuple(paths), offsets, shapes[0][1] if shapes else 0, without or {})

    @property
    def documents(self) -> int:
        """How many are not left out."""
        return sum(int(self._left(shard).sum()) for shard in range(len(self.paths)))

    def part(self, shard: int) -> VectorCorpus:
        """Return the corpus of one shard alone: positions are its rows."""
        path = self.paths[shard]
        without = {path: self.without[path]} if path in self.without else {}
        return VectorCorpus((path,), self.offsets[shard : shard + 2] - self.offsets[shard], self.dimension, without)

    def _left(self, shard: int) -> NDArray[np.bool_]:
        """Whether each row of a shard counts."""
        left = np.ones(self.offsets[shard + 1] - self.offsets[shard], bool)
        left[np.fromiter(self.without.get(self.paths[shard], ()), np.int64)] = False
        return left

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """All that is not left out, in pieces: positions, [n], and `normalized` rows, [n, d].

        Raises:
            UserError: a file that is gone or broken, or a vector that is not finite.
        """
        for shard, path in enumerate(self.paths):
            vectors, begin, counts = _mapped(path), self.offsets[shard], self._left(shard)
            for start in range(0, len(vectors), _ROWS_AT_ONCE):
                piece, left = vectors[start : start + _ROWS_AT_ONCE], counts[start : start + _ROWS_AT_ONCE]
                _check_finite(path, piece, start)
                yield begin + start + np.flatnonzero(left), normalized(piece[left])

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return `normalized` rows of some documents, in the order of the positions given: [n, d]."""
        found = np.empty((len(positions), self.dimension), np.float32)
        order = np.argsort(positions, kind="stable")
        cuts = np.searchsorted(positions[order], self.offsets)
        for path, begin, (first, last) in zip(self.paths, self.offsets[:-1], pairwise(cuts), strict=True):
            if first < last:
                some = order[first:last]
                found[some] = normalized(_mapped(path)[positions[some] - begin])
        return found

    def places(self, positions: NDArray[np.int64]) -> list[tuple[Path, int]]:
        """Return the shard of each document, and its row there."""
        shards = np.searchsorted(self.offsets, positions, side="right") - 1
        rows = positions - self.offsets[shards]
        return [(self.paths[shard], row) for shard, row in zip(shards.tolist(), rows.tolist(), strict=True)]


def _mapped(path: Path) -> NDArray[np.floating[Any]]:
    remedy = "delete it, and the same command makes it again"
    try:
        with explained(path):
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: no whole .npy file; {remedy}") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise UserError(f"{path}: {vectors.dtype} of {vectors.ndim} dimensions, not vectors; {remedy}")
    return vectors


def _check_finite(path: Path, rows: NDArray[np.floating[Any]], first: int) -> None:
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise UserError(f"{path}: the vector of document {first + row} is not finite; use another encoder")
