"""The k-th smallest of numbers that are in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

_DIGIT = 16
"""Bits that a pass decides."""

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Mapped(Generic[Item, Read]):
    """What is read of some items, one after the other, as often as it is iterated."""

    items: Iterable[Item]
    read: Callable[[Item], Read]

    def __iter__(self) -> Iterator[Read]:
        return map(self.read, self.items)


def kth_smallest(pieces: Iterable[NDArray[Any]], k: int) -> Any:
    """Return the k-th smallest number, from 0, in a pass for every 16 bits of a number; memory holds a piece.

    Args:
        pieces: all the numbers, more than ``k`` and none of them NaN; they are iterated several times. float32,
            float64 or an unsigned type, the same in all.

    Returns:
        A scalar of their type.
    """
    dtype = next(iter(pieces)).dtype
    bits, found = 8 * dtype.itemsize, 0
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        counts = np.zeros(1 << _DIGIT, np.int64)
        for piece in pieces:
            numbers = _ordered(piece)
            if shift + _DIGIT < bits:
                numbers = numbers[numbers >> numbers.dtype.type(shift + _DIGIT) == found]
            digits = (numbers >> numbers.dtype.type(shift)) & numbers.dtype.type((1 << _DIGIT) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT)
        ends = np.cumsum(counts)
        digit = int(np.searchsorted(ends, k, side="right"))
        k -= int(ends[digit - 1]) if digit else 0
        found = found << _DIGIT | digit
    return _number(found, dtype)


def _ordered(numbers: NDArray[Any]) -> NDArray[Any]:
    """Unsigned numbers of the same order: of a float its bits, those of a negative one turned round."""
    if numbers.dtype.kind == "u":
        return numbers
    bits = np.ascontiguousarray(numbers).view(f"u{numbers.dtype.itemsize}")
    sign = bits.dtype.type(1 << (8 * bits.dtype.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)


def _number(ordered: int, dtype: np.dtype[Any]) -> Any:
    """Undo `_ordered` for one number."""
    unsigned = np.dtype(f"u{dtype.itemsize}").type(ordered)
    if dtype.kind == "u":
        return unsigned
    sign = type(unsigned)(1 << (8 * dtype.itemsize - 1))
    return (unsigned ^ sign if unsigned & sign else ~unsigned).view(dtype)
