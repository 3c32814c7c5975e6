"""The size of what a teacher says of one token. Needs no numpy: a plan asks for it."""

from __future__ import annotations

_OF_AN_ID = 2
_OF_A_PROBABILITY = 1


def record_bytes(k: int) -> int:
    """Return the bytes of a record of k ids and their probabilities."""
    return k * (_OF_AN_ID + _OF_A_PROBABILITY)
