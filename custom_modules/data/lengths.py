"""How long a dataset's documents are, as ``manifest.json`` says it. Needs numpy only where an ``.idx`` is read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from custom_modules.data.manifest import Lengths, Part
from custom_modules.data.manifest_file import AGAIN
from custom_modules.errors import UserError

_AT_ONCE = 1 << 22


def lengths_of(part: Part) -> Lengths | None:
    """Return the lengths of a dataset's documents: those of its manifest, or of its ``.idx`` where the manifest is of a
    version before 0.2; None where there is no such file either."""
    if part.lengths is None:
        with suppress(UserError):
            return read_lengths(part.idx)
    return part.lengths


def read_lengths(path: Path) -> Lengths:
    """Count the documents of an ``.idx`` that `danube prepare` wrote, by their length.

    Returns:
        Documents and their tokens, together, of each bin that has any, the shortest first. There are 16 bins an octave,
        so that those of a bin differ by 6% at most; below 32 tokens a bin is one length.

    Raises:
        UserError: it is missing or damaged.
    """
    import numpy as np

    from custom_modules.data.index import open_index

    index = open_index(path)
    documents, tokens = np.zeros((2, 0), np.int64)
    for begin in range(0, index.documents, _AT_ONCE):
        lengths = index.lengths[begin : begin + _AT_ONCE]
        if lengths.min() < 0:
            raise UserError(f"{path}: a document of {lengths.min()} tokens, so it is damaged; {AGAIN}")
        # Five bits of a length, and by how many places they are shifted.
        shifts = np.maximum(np.frexp(lengths)[1] - 5, 0)
        bins = 16 * shifts + (lengths >> shifts)
        size = max(documents.size, int(bins.max()) + 1)
        documents, tokens = (np.pad(counts, (0, size - counts.size)) for counts in (documents, tokens))
        documents += np.bincount(bins, minlength=size)
        tokens += np.bincount(bins, lengths, minlength=size).astype(np.int64)
    return tuple((int(count), int(total)) for count, total in zip(documents, tokens, strict=True) if count)
