"""Documents cut into what a teacher reads at a time, in batches whose shapes follow from the documents alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.teach.alignment import Aligned

ROWS = 8
"""Windows of a batch, filled up where there are fewer, so that every batch of a length has one shape and a window's
bits do not depend on who computes it."""
STEP = 64
"""A batch's length is a multiple of so many tokens."""
CONTEXT = 4
"""A window behind the first begins with the last 1/4 of the one before, of which nothing is taken again (assumed)."""


@dataclass(frozen=True)
class Window:
    """A piece of a document.

    Attributes:
        document: its number among those of the shard.
        ids: [l], int64: a token that begins a document, and the teacher's tokens.
        rows: [n], int64: the student's tokens in the document that the predictions are for.
        places: [n], int64: the tokens of the window behind which they stand.
    """

    document: int
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def cut(document: int, aligned: Aligned, first_id: int, length: int) -> Iterator[Window]:
    """Cut a document into windows.

    Args:
        first_id: the teacher's token that begins a document.
        length: of a window, in tokens, at most.
    """
    begin, done = 0, 0
    count = len(aligned.ids)
    while done <= count:
        ids = aligned.ids[begin : begin + length - 1]
        end = begin + len(ids) + 1  # behind the last prediction: of the token that follows the window
        chosen = slice(*np.searchsorted(aligned.predictions, (done, end)).tolist())
        rows, places = aligned.rows[chosen], aligned.predictions[chosen] - begin
        if len(rows):
            last = int(places[-1])
            yield Window(document, np.concatenate([[first_id], ids[:last]]), rows, places)
        done = end
        begin = end - length // CONTEXT


def batches(windows: Sequence[Window], longest: int) -> Iterator[tuple[NDArray[np.int64], list[Window]]]:
    """Give batches of windows of about one length.

    Args:
        longest: that the teacher reads, in tokens.

    Yields:
        ids [`ROWS`, a multiple of `STEP` or ``longest``], int64, padded on the right with 0, and the windows of its
        first rows.
    """
    order = sorted(range(len(windows)), key=lambda number: len(windows[number].ids))
    for begin in range(0, len(order), ROWS):
        chosen = [windows[number] for number in order[begin : begin + ROWS]]
        length = min(-(-len(chosen[-1].ids) // STEP) * STEP, longest)
        ids = np.zeros((ROWS, length), np.int64)
        for row, window in enumerate(chosen):
            ids[row, : len(window.ids)] = window.ids
        yield ids, chosen
