"""Which documents have the same MinHash signature: what datatrove's ``MinhashDedupBuckets`` finds, in flat memory.

A bucket's signatures are put into files by their first hash, each of which is sorted. datatrove merges the sorted files
of all units instead, which holds all of them open.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.files import explained
from data_prep.across.partitions import RECORDS, Partitions, partition_file, partitions_for

PAIR = np.dtype("<i8")
"""Of the positions in a file of pairs: [pairs, 2]."""
_SAMPLED = 1 << 16
_PAIRS_AT_ONCE = 1 << 18
_IN_MEMORY = 4 * RECORDS
"""Records of a file that is not sorted in place."""


def signature_bytes(hashes: int) -> int:
    """Return what a document's signature takes, as datatrove writes it."""
    return _written(hashes).itemsize


def most_bytes(hashes: int) -> int:
    """Return what a document takes of a bucket at most: its signature, that by its first hash, and a pair."""
    return signature_bytes(hashes) + _sorted_by(hashes).itemsize + 2 * PAIR.itemsize


def find_pairs(
    units: Sequence[Path], offsets: NDArray[np.int64], bucket: int, hashes: int, work: Path, pairs: Path
) -> None:
    """Write the pairs of a bucket: of documents of one signature each with the next, by signature, then by position.

    Args:
        units: the folder of each unit that ``MinhashDedupSignature`` has filled.
        offsets: of `data_prep.across.positions.offsets_of`.
        bucket: its number.
        hashes: in a signature.
        work: where signatures are written by their first hash; it is gone when this returns.
        pairs: the file to write: [pairs, 2], `PAIR`.

    Raises:
        UserError: a file that cannot be read or written.
    """
    with explained(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    files = [unit / f"bucket_{bucket:03d}" / "00000.minhash.sig" for unit in units]
    splitters = _splitters(files, int(offsets[-1]), _written(hashes))
    with Partitions(work, _sorted_by(hashes)) as into:
        for path, begin in zip(files, offsets, strict=False):
            with explained(path):
                written = np.fromfile(path, _written(hashes))
            into.add(
                _comparable(written, int(begin), hashes),
                np.searchsorted(splitters, written["hashes"][:, 0], side="right"),
            )
    with explained(pairs), pairs.open("wb") as file:
        for number in range(len(splitters) + 1):
            for some in _pairs_of(partition_file(work, number), _sorted_by(hashes)):
                file.write(some.data)
    shutil.rmtree(work, ignore_errors=True)


def _written(hashes: int) -> np.dtype[Any]:
    """The record of ``MinhashDedupSignature``; the document is an index in the unit."""
    return np.dtype([("hashes", "<u8", (hashes,)), ("document", "<u4")])


def _sorted_by(hashes: int) -> np.dtype[Any]:
    """A record whose bytes are in the order of its numbers: signature, then position."""
    return np.dtype([("signature", f"S{8 * hashes}"), ("position", ">u8")])


def _comparable(written: NDArray[Any], begin: int, hashes: int) -> NDArray[Any]:
    records = np.empty(len(written), _sorted_by(hashes))
    signatures = written["hashes"].astype(">u8", order="C").view(np.uint8).reshape(len(written), 8 * hashes)
    records.view(np.uint8).reshape(len(written), records.itemsize)[:, : 8 * hashes] = signatures
    records["position"] = written["document"].astype(np.uint64) + np.uint64(begin)
    return records


def _splitters(files: Sequence[Path], documents: int, dtype: np.dtype[Any]) -> NDArray[np.uint64]:
    """First hashes of some signatures that cut all into parts of about the same size: [parts - 1], or less."""
    step = max(1, documents // _SAMPLED)
    sampled, seen = [np.empty(0, np.uint64)], 0
    for path in files:
        with explained(path):
            if not path.stat().st_size:
                continue
            written = np.memmap(path, dtype, mode="r")
        sampled.append(np.array(written[-seen % step :: step]["hashes"][:, 0]))
        seen += len(written)
    sample = np.sort(np.concatenate(sampled))
    parts = partitions_for(seen)
    cuts = np.arange(1, parts) * len(sample) // parts
    return np.unique(sample[cuts])


def _pairs_of(path: Path, dtype: np.dtype[Any]) -> Iterator[NDArray[np.int64]]:
    """Sort a file, in place where it is large, as it is where one signature is that of many documents."""
    if not path.exists():
        return
    with explained(path):
        large = path.stat().st_size > _IN_MEMORY * dtype.itemsize
        records = np.memmap(path, dtype, mode="r+") if large else np.fromfile(path, dtype)
    records.view(f"S{dtype.itemsize}").sort()
    for begin in range(0, len(records) - 1, _PAIRS_AT_ONCE):
        some = records[begin : begin + _PAIRS_AT_ONCE + 1]
        same = np.flatnonzero(some["signature"][1:] == some["signature"][:-1])
        positions = some["position"].astype(PAIR)
        yield np.stack([positions[same], positions[same + 1]], axis=1)
    path.unlink()
