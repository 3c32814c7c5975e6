"""Vectors on the unit sphere whose dot products are exact, and what follows: no sum depends on how it is grouped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GRID = float(2**24)


def normalized(rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rows of length 1, their entries rounded to multiples of 2**-24.

    Products of such entries are multiples of 2**-48 and no partial sum of a dot product is beyond 2, so that float64
    holds each of them exactly: `cosines` are the same bits in blocks of any size, on any machine and number of
    threads. A row of zeros stays one.

    Args:
        rows: [n, d], any float type.

    Returns:
        [n, d], float32.
    """
    wide = rows.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    np.divide(wide, lengths, out=wide, where=lengths > 0)
    return (np.rint(wide * _GRID) / _GRID).astype(np.float32)


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the exact cosines, [n, m] float64, of two arrays of `normalized` rows, [n, d] and [m, d]."""
    product: NDArray[np.float64] = left.astype(np.float64) @ right.astype(np.float64).T
    return product


def row_keys(rows: NDArray[np.float32], seed: int) -> NDArray[np.uint64]:
    """A number for each `normalized` row, by its content and the seed alone, that looks random: [n], uint64."""
    weights = np.asarray(np.random.PCG64(seed).random_raw(rows.shape[1]), np.uint64)
    entries = (rows * np.float32(_GRID)).astype(np.int64).astype(np.uint64)
    keys: NDArray[np.uint64] = entries @ weights
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # SplitMix64's last steps
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys
