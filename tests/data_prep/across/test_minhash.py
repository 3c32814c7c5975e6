"""Near copies are those that datatrove's own buckets and clusters find, and the same ones are kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_prep.across.minhash import find_clusters, minhash_config
from tests.support.drops import read_drops
from tests.support.pools import Here

SMALL = {
    "data_prep.across.partitions.RECORDS": 16,
    "data_prep.across.partitions._BUFFER_BYTES": 2_000,
    "data_prep.across.positions._DOCUMENTS_AT_ONCE": 20,
    "data_prep.across.near_pairs._SAMPLED": 40,
    "data_prep.across.near_pairs._IN_MEMORY": 20,
    "data_prep.across.near_pairs._PAIRS_AT_ONCE": 5,
    "data_prep.across.union._PAIRS_AT_ONCE": 7,
    "data_prep.across.union._WRITTEN_AT_ONCE": 9,
}
"""So that every file is cut, and sorted both in place and in memory."""


def write_signatures(folder: Path, signatures: Sequence[NDArray[np.uint64]]) -> list[Path]:
    """Write a folder for each unit as datatrove does, of [documents, buckets, hashes]; one of zeros is left out."""
    folders = []
    for unit, of_unit in enumerate(signatures):
        folders.append(folder / str(unit))
        _, buckets, hashes = of_unit.shape
        for bucket in range(buckets):
            dtype = np.dtype([*((str(number), "<u8") for number in range(hashes)), ("document", "<u4")])
            records = np.empty(len(of_unit), dtype)
            for number in range(hashes):
                records[str(number)] = of_unit[:, bucket, number]
            records["document"] = np.arange(len(of_unit))
            records = records[of_unit.any(axis=(1, 2))]
            records.sort(order=dtype.names)
            path = folders[-1] / f"bucket_{bucket:03d}" / "00000.minhash.sig"
            path.parent.mkdir(parents=True)
            path.write_bytes(records.tobytes())
    return folders


def by_datatrove(folders: Sequence[Path], buckets: int, hashes: int, work: Path) -> list[list[int]]:
    from datatrove.pipeline.dedup.minhash import MinhashDedupBuckets, MinhashDedupCluster
    from loguru import logger

    logger.disable("datatrove")
    config = minhash_config({"num_buckets": buckets, "hashes_per_bucket": hashes})
    for unit, folder in enumerate(folders):
        for signed in sorted(folder.iterdir()):
            (work / "joint" / signed.name).mkdir(parents=True, exist_ok=True)
            os.link(signed / "00000.minhash.sig", work / "joint" / signed.name / f"{unit:05d}.minhash.sig")
    for bucket in range(buckets):
        MinhashDedupBuckets(str(work / "joint"), str(work / "pairs"), config=config).run(None, bucket, buckets)
    MinhashDedupCluster(str(work / "pairs"), str(work / "clusters"), config).run(None, 0, 1)
    found = [work / "clusters" / f"{unit:06d}.remove" for unit in range(len(folders))]
    return [np.fromfile(path, "<u4").tolist() if path.is_file() else [] for path in found]


def near_copies(seed: int, sizes: Sequence[int], buckets: int, hashes: int, kinds: int) -> list[NDArray[np.uint64]]:
    """Signatures of which many are equal in some of their buckets, some in none but their first hash, some in none."""
    source = np.random.default_rng(seed)
    of_kind = source.integers(2**61, size=(kinds, buckets, hashes), dtype=np.uint64)
    of_kind[:, :, 0] = of_kind[source.integers(kinds, size=kinds), :, 0]
    found = []
    for size in sizes:
        own = source.integers(2**61, size=(size, buckets, hashes), dtype=np.uint64)
        copied = source.random((size, buckets, 1)) < source.random((size, 1, 1)) ** 2
        of_unit = np.where(copied, of_kind[source.integers(kinds, size=size)], own)
        of_unit[source.random(size) < 0.1] = 0
        found.append(of_unit)
    return found


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    buckets=st.integers(1, 4),
    hashes=st.integers(1, 3),
    kinds=st.integers(1, 12),
)
@pytest.mark.slow
def test_the_same_documents_are_dropped_as_by_datatrove(
    seed: int, sizes: list[int], buckets: int, hashes: int, kinds: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    work = tmp_path_factory.mktemp("minhash")
    folders = write_signatures(work / "signatures", near_copies(seed, sizes, buckets, hashes, kinds))
    expected = by_datatrove(folders, buckets, hashes, work / "datatrove")
    for name, changed in ("whole", {}), ("cut", SMALL):
        into = work / name / "drops"
        into.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            for constant, value in changed.items():
                patch.setattr(constant, value)
            count = find_clusters(folders, sizes, buckets, hashes, work / name, Here(), into)
        drops = read_drops(into, len(sizes))
        assert [[index for index, _ in of_unit] for of_unit in drops] == expected
        assert count == sum(map(len, expected))
        assert [path.name for path in (work / name).iterdir()] == ["drops"]
