"""Near copies by MinHash: datatrove's signatures, buckets and clusters; one document of each cluster is kept."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_folder
from data_prep.input.documents import Removal
from data_prep.steps.filter_shard import read_kept
from data_prep.work.workers import Pool

if TYPE_CHECKING:
    from datatrove.pipeline.dedup.minhash import MinhashConfig

NAME = "minhash"


def minhash_config(options: Mapping[str, Any]) -> MinhashConfig:
    """Return datatrove's settings: ``n_grams``, ``num_buckets``, ``hashes_per_bucket`` and ``seed``, with its defaults.

    Raises:
        UserError: an option it does not have.
    """
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    known = [name for name in inspect.signature(MinhashConfig).parameters if not name.endswith("_config")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(
            f"data.steps.minhash.{unknown[0]}={options[unknown[0]]}: no such option; use {', '.join(known)}"
        )
    # Its default, xxhash, fails with the current version of that package.
    return MinhashConfig(**options, hash_config=HashConfig(hash_fc="sha1"))


class NearCopies:
    """Drops all but one document of every cluster of near copies.

    Raises:
        UserError: an option that datatrove's settings do not have.
    """

    name = NAME
    heading = "near copies"

    def __init__(self, **options: Any) -> None:
        minhash_config(options)
        self.options: Mapping[str, object] = options

    def find(
        self, shards: Sequence[Path], dropped: Sequence[Mapping[int, Removal]], work: Path, workers: Pool
    ) -> list[dict[int, Removal]]:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        identity = orjson.dumps([dict(self.options), [sorted(gone) for gone in dropped]])
        suffix = hashlib.blake2b(identity, digest_size=8).hexdigest()
        named = [(f"{shard.name}.{suffix}", shard) for shard in shards]
        return find_near_copies(named, dropped, self.options, work / NAME, workers)


def find_near_copies(
    units: Sequence[tuple[str, Path]],
    dropped: Sequence[Mapping[int, Removal]],
    options: Mapping[str, Any],
    work: Path,
    workers: Pool,
) -> list[dict[int, Removal]]:
    """All but one document of every cluster of near copies.

    Args:
        units: of each unit a key that changes with its documents, and the folder that `filter_shard` made.
        dropped: documents of each unit, by index, that are gone already.
        options: of `minhash_config`.
        work: for signatures, which a later run finds again.

    Returns:
        For each unit the documents to drop, by their index in it.
    """
    config = minhash_config(options)
    signatures, joint, pairs, clusters = (work / name for name in ("signatures", "joint", "pairs", "clusters"))
    with explained(work):
        for folder in (joint, pairs, clusters):
            shutil.rmtree(folder, ignore_errors=True)
        signatures.mkdir(parents=True, exist_ok=True)
    calls = [
        (signatures, key, folder, tuple(sorted(gone)), dict(options))
        for (key, folder), gone in zip(units, dropped, strict=True)
        if not (signatures / key).is_dir()
    ]
    for _ in workers.run(_sign, calls):
        pass
    for unit, (key, _) in enumerate(units):
        for bucket in sorted((signatures / key).glob("bucket_*")):
            (joint / bucket.name).mkdir(parents=True, exist_ok=True)
            os.link(bucket / "00000.minhash.sig", joint / bucket.name / f"{unit:05d}.minhash.sig")
    for _ in workers.run(_pair, ((joint, pairs, bucket, dict(options)) for bucket in range(config.num_buckets))):
        pass
    for _ in workers.run(_cluster, [(pairs, clusters, dict(options))]):
        pass
    return [dict(_removals(clusters, unit, dropped[unit], units[unit][1])) for unit in range(len(units))]


def _sign(folder: Path, key: str, documents: Path, dropped: tuple[int, ...], options: Mapping[str, Any]) -> None:
    """Publish a unit's signatures as ``folder/key``."""
    from datatrove.data import Document as DatatroveDocument

    from data_prep.across.minhash_signature import Signatures

    _quiet()
    gone = set(dropped)
    left = (document for index, document in enumerate(read_kept(documents)) if index not in gone)
    with whole_folder(folder / key, replace=True) as aside:
        step = Signatures(aside, minhash_config(options))
        step.run((DatatroveDocument(document.text, "") for document in left), rank=0)


def _pair(joint: Path, pairs: Path, bucket: int, options: Mapping[str, Any]) -> None:
    from datatrove.pipeline.dedup.minhash import MinhashDedupBuckets

    _quiet()
    config = minhash_config(options)
    MinhashDedupBuckets(str(joint), str(pairs), config=config).run(None, bucket, config.num_buckets)


def _cluster(pairs: Path, clusters: Path, options: Mapping[str, Any]) -> None:
    from datatrove.pipeline.dedup.minhash import MinhashDedupCluster

    _quiet()
    MinhashDedupCluster(str(pairs), str(clusters), minhash_config(options)).run(None, 0, 1)


def _quiet() -> None:
    from loguru import logger

    logger.disable("datatrove")


def _removals(
    clusters: Path, unit: int, dropped: Mapping[int, Removal], documents: Path
) -> Iterator[tuple[int, Removal]]:
    """Yield what datatrove removes of a unit. It counts the documents it was given: that is undone here."""
    path = clusters / f"{unit:06d}.remove"
    if not path.is_file():
        return
    count = sum(1 for _ in read_kept(documents)) if dropped else None
    positions = np.fromfile(path, "<u4")
    left = [index for index in range(count) if index not in dropped] if count is not None else None
    for position in positions.tolist():
        yield (left[position] if left else position), Removal(NAME, "a near copy of another document")
