"""SemDeDup and self-supervised-prototypes pruning over the whole corpus: vectors by unit, then what to drop."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import orjson

from custom_modules.errors import UserError
from custom_modules.files import explained, folder_digest
from data_prep.across.drops import DroppedIndices, Drops
from data_prep.across.positions import document_counts
from data_prep.across.room import say_room
from data_prep.steps.filter_shard import read_kept
from data_prep.work.workers import Pool

if TYPE_CHECKING:
    from data_prep.semantic.encoder import SentenceEncoder
    from data_prep.semantic.options import SemanticOptions

_OF_VECTORS = ("max_length", "prefix", "dtype")
"""The options that change a vector, beside the encoder itself."""


def semantic_options(name: str, given: Mapping[str, Any]) -> SemanticOptions:
    """Check a step's options.

    Raises:
        UserError: a missing or unknown one, or a wrong value.
    """
    from data_prep.semantic.options import PrototypeOptions, SemDedupOptions, read_options

    if name == "semdedup":
        return read_options(name, SemDedupOptions, given)
    return read_options(name, PrototypeOptions, given)


class _MeaningStep:
    name: ClassVar[str]

    def __init__(self, **options: Any) -> None:
        encoder = Path(semantic_options(self.name, options).encoder)
        if not encoder.is_dir():
            raise UserError(f"data.steps.{self.name}.encoder={encoder}: no such folder; give a sentence encoder's")
        self.heading = self.name
        self._given = options
        self.options: Mapping[str, object] = {**options, "encoder": folder_digest(encoder)}

    def find(self, shards: Sequence[Path], dropped: Sequence[Drops], work: Path, workers: Pool, into: Path) -> int:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        return find_by_meaning(self.name, shards, dropped, self._given, work, workers, into)


class SemDedup(_MeaningStep):
    """Drops all but one of documents that mean nearly the same.

    Raises:
        UserError: a missing or unknown option, a wrong value, or no folder of an encoder.
    """

    name = "semdedup"


class Prototypes(_MeaningStep):
    """Drops the documents that are most like their prototype, or least.

    Raises:
        UserError: a missing or unknown option, a wrong value, or no folder of an encoder.
    """

    name = "prototypes"


def find_by_meaning(
    name: str,
    units: Sequence[Path],
    dropped: Sequence[Drops],
    given: Mapping[str, Any],
    work: Path,
    workers: Pool,
    into: Path,
) -> int:
    """Find what one of the two steps drops.

    Args:
        units: the folder of each unit that `filter_shard` made.
        dropped: documents of each unit that are gone already.
        work: for vectors, among others, which a later run, or the other step with the same encoder, finds again.
        into: as `data_prep.across.corpus_step.CorpusStep.find` has it.

    Returns:
        How many documents are dropped.
    """
    from data_prep.across import prototypes, semdedup
    from data_prep.across.assigned import ASSIGNED, assign_units
    from data_prep.semantic.clusters import fit
    from data_prep.semantic.embeddings import VectorCorpus
    from data_prep.semantic.options import PrototypeOptions, SemDedupOptions

    options = semantic_options(name, given)
    of_vectors = [folder_digest(Path(options.encoder)), *(getattr(options, key) for key in _OF_VECTORS)]
    folder = work / "vectors" / hashlib.blake2b(orjson.dumps(of_vectors), digest_size=8).hexdigest()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{unit.name}.npy" for unit in units]
    made = [path for path in paths if path.is_file()]
    for _, dimension in workers.run(_dimension, [(made[:1], name, dict(given))]):
        a_document = dimension * np.dtype(options.dtype).itemsize + 2 * ASSIGNED.itemsize + semdedup.COPY_BYTES
        say_room(name, sum(document_counts(units)), a_document, work)
    calls = [(path, unit, name, dict(given)) for path, unit in zip(paths, units, strict=True) if not path.is_file()]
    for _ in workers.run(_embed, calls):
        pass
    without = {path: DroppedIndices(gone) for path, gone in zip(paths, dropped, strict=True) if gone.paths}
    corpus = VectorCorpus.open(paths, without)
    (found,) = (centroids for _, centroids in workers.run(fit, [(paths, options, without)]))
    clusters = work / "clusters"
    files, counts = assign_units(corpus, found, options.seed, clusters, workers)
    if isinstance(options, SemDedupOptions):
        removed = semdedup.find_copies(corpus, files, counts, options, work / "compared", workers, into)
    else:
        assert isinstance(options, PrototypeOptions)
        removed = prototypes.find_typical(corpus, files, counts, options, workers, into)
    shutil.rmtree(clusters, ignore_errors=True)
    return removed


def _dimension(made: Sequence[Path], name: str, given: Mapping[str, Any]) -> int:
    """Return how many numbers a vector has: what an earlier run has made says it, else the encoder."""
    from data_prep.semantic.embeddings import VectorCorpus

    return VectorCorpus.open(made).dimension if made else _encoder(semantic_options(name, given)).dimension


def _embed(path: Path, documents: Path, name: str, given: Mapping[str, Any]) -> None:
    """Publish the vectors of all documents of a unit, the dropped ones included."""
    from data_prep.semantic.embeddings import embed_shard

    options = semantic_options(name, given)
    texts = [document.text for document in read_kept(documents)]
    embed_shard(_encoder(options), texts, path, options.dtype)


@cache
def _encoder(options: SemanticOptions) -> SentenceEncoder:
    from data_prep.semantic.encoder import SentenceEncoder

    return SentenceEncoder.of(options)
