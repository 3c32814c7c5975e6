"""Index files that megatron-core's GPTDataset left: whether they still fit the data. Needs no torch."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.index import Index

ENTRIES = 1 << 20
"""Entries of an index in memory at once."""


def why_stale(description: Path, indexes: Mapping[Path, Index | None]) -> str | None:
    """Why a cache of megatron-core's GPTDataset does not fit the data of today; None if it does.

    megatron-core finds a cache by its description, which names the dataset's path, but neither its size nor its
    content. So a cache is held against the documents' lengths: each sample has to begin where the one before ends.

    Args:
        indexes: of the datasets, by their prefix in the folder; None where it is not sound, and no cache can be judged.
    """
    try:
        made = json.loads(description.read_text())
        name, seq_length = Path(made["dataset_path"]), int(made["sequence_length"])
        split = ("train", "valid", "test").index(made["index_split"])
        low, high = map(float, (made.get("split_matrix") or [None] * 3)[split] or (0, 1))
        stem = description.name.removesuffix("description.txt")
        documents, samples, shuffle = (
            np.load(description.with_name(f"{stem}{kind}_index.npy"), mmap_mode="r")
            for kind in ("document", "sample", "shuffle")
        )
    except FileNotFoundError:
        return None  # megatron-core, too, takes a cache only if all of it is there
    except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
        return f"a damaged index cache ({error})"
    # A container or another machine may mount the folder elsewhere: its own path says nothing.
    prefixes = [prefix for prefix in indexes if name.parts[-len(prefix.parts) :] == prefix.parts]
    if not prefixes:
        return f"an index cache of {name}, which is none of these datasets"
    index = indexes[max(prefixes, key=lambda prefix: len(prefix.parts))]
    if index is None:
        return None
    begin, end = round(low * len(index.lengths)), round(high * len(index.lengths))
    if not documents.size or (documents.min(), documents.max() + 1) != (begin, end) or documents.size % (end - begin):
        return f"an index cache of other data than {index.path} is now: not of its documents {begin} to {end - 1}"
    if not _samples_fit(documents, samples, index.lengths, seq_length):
        return f"an index cache of other data than {index.path} is now: its samples of {seq_length} tokens do not join"
    if shuffle.shape != (len(samples) - 1,) or (shuffle.size and shuffle.max() >= shuffle.size):
        return f"a damaged index cache: it orders {shuffle.size} samples, but there are {len(samples) - 1}"
    return None


def _samples_fit(documents: NDArray[Any], samples: NDArray[Any], lengths: NDArray[np.int32], seq_length: int) -> bool:
    """Whether sample i begins ``i * seq_length`` tokens after the first, and the samples take all tokens.

    Args:
        documents: [epochs x documents]: numbers of documents, in the order of training.
        samples: [samples + 1, 2]: the place in ``documents`` and the token in that document that each begins with.
    """
    if samples.ndim != 2 or samples.shape[1] != 2:
        return False
    total = row = 0
    for start in range(0, documents.size, ENTRIES):
        sizes = lengths[documents[start : start + ENTRIES]]
        before = total + np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        stop = bisect_left(samples[:, 0], start + sizes.size, lo=row)
        places, offsets = samples[row:stop, 0].astype(np.int64) - start, samples[row:stop, 1]
        if ((places < 0) | (places >= sizes.size)).any():
            return False
        expected = np.arange(row, stop, dtype=np.int64) * seq_length
        # The last boundary lies nearer where a last, shorter sample was kept.
        wrong = np.flatnonzero(before[places] + offsets != expected)
        if wrong.size and row + wrong[0] < len(samples) - 1:
            return False
        total, row = int(before[-1]), stop
    return row == len(samples) and abs(total - 1 - (row - 1) * seq_length) <= seq_length
