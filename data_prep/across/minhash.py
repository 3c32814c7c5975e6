"""Near copies by MinHash: datatrove's signatures, and what its buckets and clusters make of them.

One document of each cluster is kept, the one that datatrove keeps.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from custom_modules.files import explained, whole_folder
from data_prep.across.drops import Drops, write_drops
from data_prep.across.near_pairs import find_pairs, most_bytes
from data_prep.across.positions import document_counts, offsets_of, unit_groups
from data_prep.across.room import say_room
from data_prep.across.union import join_pairs, link_dtype
from data_prep.input.documents import Removal
from data_prep.steps.filter_shard import read_kept
from data_prep.work.workers import Pool

if TYPE_CHECKING:
    from datatrove.pipeline.dedup.minhash import MinhashConfig

NAME = "minhash"
_FORMAT = 2


def minhash_config(options: Mapping[str, Any]) -> MinhashConfig:
    """Return datatrove's settings with ``n_grams``, ``num_buckets``, ``hashes_per_bucket`` and ``seed``."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    # Its default, xxhash, fails with the current version of that package.
    return MinhashConfig(**options, hash_config=HashConfig(hash_fc="sha1"))


class NearCopies:
    """Drops all but one document of every cluster of near copies."""

    name = NAME
    heading = "near copies"

    def __init__(self, **options: Any) -> None:
        self.options: Mapping[str, object] = options

    def find(self, shards: Sequence[Path], dropped: Sequence[Drops], work: Path, workers: Pool, into: Path) -> int:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        return find_near_copies(shards, dropped, self.options, work / NAME, workers, into)


def find_near_copies(
    shards: Sequence[Path],
    dropped: Sequence[Drops],
    options: Mapping[str, Any],
    work: Path,
    workers: Pool,
    into: Path,
) -> int:
    """Find all but one document of every cluster of near copies.

    Args:
        shards: the folder of each unit that `filter_shard` made.
        dropped: documents of each unit that are gone already.
        options: of `minhash_config`.
        work: for signatures, which a later run finds again.
        into: as `data_prep.across.corpus_step.CorpusStep.find` has it.

    Returns:
        How many documents are dropped.

    Raises:
        UserError: a file that cannot be read or written.
    """
    config = minhash_config(options)
    signatures, counts = work / "signatures", document_counts(shards)
    with explained(work):
        signatures.mkdir(parents=True, exist_ok=True)
    a_document = config.num_buckets * most_bytes(config.hashes_per_bucket) + link_dtype(sum(counts)).itemsize
    say_room(NAME, sum(counts), a_document, work)
    folders = [signatures / _key(shard, gone, options) for shard, gone in zip(shards, dropped, strict=True)]
    calls = [
        (folder, shard, gone, dict(options))
        for folder, shard, gone in zip(folders, shards, dropped, strict=True)
        if not folder.is_dir()
    ]
    for _ in workers.run(_sign, calls):
        pass
    return find_clusters(folders, counts, config.num_buckets, config.hashes_per_bucket, work, workers, into)


def find_clusters(
    signatures: Sequence[Path],
    counts: Sequence[int],
    buckets: int,
    hashes: int,
    work: Path,
    workers: Pool,
    into: Path,
) -> int:
    """Find what `find_near_copies` does from the signatures alone.

    Args:
        signatures: the folder of each unit that datatrove's ``MinhashDedupSignature`` has filled.
        counts: the documents of each unit.
        buckets, hashes: of a document's signatures, and in each.
    """
    offsets, pairs, links = offsets_of(counts), work / "pairs", work / "links.bin"
    with explained(pairs):
        shutil.rmtree(pairs, ignore_errors=True)
        pairs.mkdir(parents=True)
    paths = [pairs / f"{bucket:03d}.bin" for bucket in range(buckets)]
    calls = [
        (tuple(signatures), offsets, bucket, hashes, work / f"bucket_{bucket:03d}", path)
        for bucket, path in enumerate(paths)
    ]
    for _ in workers.run(find_pairs, calls):
        pass
    for _ in workers.run(join_pairs, [(paths, int(offsets[-1]), links)]):
        pass
    shutil.rmtree(pairs, ignore_errors=True)
    found = sum(
        dropped for _, dropped in workers.run(_write, [(links, offsets, each, into) for each in unit_groups(counts)])
    )
    with explained(links):
        links.unlink()
    return found


def _key(shard: Path, dropped: Drops, options: Mapping[str, Any]) -> str:
    """The name of a unit's signatures: another for other documents or options."""
    identity = orjson.dumps([_FORMAT, shard.name, dropped.key, dict(options)])
    return hashlib.blake2b(identity, digest_size=16).hexdigest()


def _sign(folder: Path, documents: Path, dropped: Drops, options: Mapping[str, Any]) -> None:
    """Publish a unit's signatures. A document without a word has none: so one that is dropped is given without."""
    from datatrove.data import Document as DatatroveDocument

    from data_prep.across.minhash_signature import Signatures

    _quiet()
    removal = dropped.in_turn()
    texts = ("" if removal(index) else document.text for index, document in enumerate(read_kept(documents)))
    with whole_folder(folder, replace=True) as aside:
        step = Signatures(aside, minhash_config(options))
        step.run((DatatroveDocument(text, "") for text in texts), rank=0)


def _write(links: Path, offsets: NDArray[np.int64], units: range, into: Path) -> int:
    """Write what is dropped of some units: the documents that have joined others."""
    removal, found = Removal(NAME, "a near copy of another document"), 0
    for unit in units:
        begin, end = offsets[unit], offsets[unit + 1]
        if begin < end:
            dtype = link_dtype(int(offsets[-1]))
            with explained(links):
                joined = np.fromfile(links, dtype, end - begin, offset=begin * dtype.itemsize) >= 0
            found += write_drops(into, unit, ((index, removal) for index in np.flatnonzero(joined).tolist()))
    return found


def _quiet() -> None:
    from loguru import logger

    logger.disable("datatrove")
