"""Probabilities in one byte each, of which a row never adds up to more than 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 255
"""A code ``c`` stands for (c / 255)^2: small probabilities are told apart more finely, and 1 is exact."""
WHOLE = STEPS**2
"""What the squares of a row's codes add up to where its probabilities add up to 1, in whole numbers."""
_LOOK_UP = ((np.arange(STEPS + 1, dtype=np.float64) / STEPS) ** 2).astype(np.float32)


def quantise(probabilities: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the codes of rows of probabilities.

    A probability p comes back off by less than 2 sqrt(p) / 255, so by less than 0.0079, and by half of that wherever
    the nearest codes of its row do not add up to more than 1; one below 1 / 260,100 comes back as 0.

    Args:
        probabilities: [..., k], each row finite, of nothing below 0, and adding up to at most 1 but for rounding.

    Returns:
        [..., k], uint8; the squares of a row add up to at most `WHOLE`.
    """
    scaled = np.sqrt(np.asarray(probabilities, np.float64)) * STEPS
    nearest = np.minimum(np.rint(scaled), STEPS).astype(np.int64)
    excess = (nearest**2).sum(axis=-1, keepdims=True) - WHOLE
    if (excess > 0).any():
        below = np.minimum(np.floor(scaled), STEPS).astype(np.int64)
        gain = nearest**2 - below**2
        # What was rounded up is rounded down instead, the largest gains first, until the row fits.
        order = np.argsort(-gain, axis=-1, kind="stable")
        ordered = np.take_along_axis(gain, order, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered
        lowered = np.empty_like(order, dtype=bool)
        np.put_along_axis(lowered, order, before < excess, axis=-1)
        nearest = np.where(lowered, below, nearest)
    return nearest.astype(np.uint8)


def dequantise(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities, float32, that codes stand for."""
    return _LOOK_UP[codes]


def exceed_one(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell for each row of codes, [..., k], whether its probabilities add up to more than 1."""
    return np.einsum("...k,...k->...", codes, codes, dtype=np.int64, casting="unsafe") > WHOLE
