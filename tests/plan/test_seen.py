"""What attention sees inside documents, against counts pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from custom_modules.plan.seen import seen_pairs


def count_pairs(tokens: int, window: int | None) -> int:
    """Count the pairs of tokens of one document in one sequence, one by one."""
    return sum(1 for query in range(tokens) for key in range(query + 1) if window is None or query - key < window)


def cut(length: int, begin: int, seq_length: int) -> list[int]:
    """Return the tokens in each sequence of a document that begins at a place of one."""
    places = np.arange(begin, begin + length) // seq_length
    return np.unique(places, return_counts=True)[1].tolist()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 24), st.none() | st.integers(1, 30))
def test_a_document_that_begins_anywhere(length: int, seq_length: int, window: int | None) -> None:
    pieces = [piece for begin in range(seq_length) for piece in cut(length, begin, seq_length)]
    pairs = sum(count_pairs(piece, window) for piece in pieces) / seq_length
    assert seen_pairs(((1, length),), seq_length, window) == pytest.approx(pairs * seq_length / length, rel=1e-12)


def drawn_lengths() -> NDArray[np.int64]:
    return np.ceil(np.random.default_rng(0).lognormal(4, 1, 100_000)).astype(np.int64)


@pytest.mark.parametrize(("seq_length", "window"), [(128, None), (128, 48), (32, 48), (256, 100)])
def test_a_packed_stream(seq_length: int, window: int | None) -> None:
    lengths = drawn_lengths()
    documents = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(documents)) // seq_length
    begins = np.flatnonzero(np.diff(documents, prepend=-1) | np.diff(place, prepend=-1))
    pieces = np.diff(begins, append=len(documents))
    pairs = np.array([0, *(count_pairs(tokens, window) for tokens in range(1, seq_length + 1))])[pieces].sum()
    each = tuple((1, int(length)) for length in lengths)
    assert seen_pairs(each, seq_length, window) == pytest.approx(pairs / (place[-1] + 1), rel=2e-3)
