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

from custom_modules.data_steps.options import PrototypeOptions, SemanticOptions, SemDedupOptions
from custom_modules.data_steps.read import keys_in_full
from custom_modules.errors import UserError
from custom_modules.files import explained, folder_digest
from data_prep.across.drops import DroppedIndices, Drops
from data_prep.across.positions import document_counts
from data_prep.across.room import say_room
from data_prep.steps.filter_shard import read_kept
from data_prep.work.whole_files import check_whole
from data_prep.work.workers import Pool

if TYPE_CHECKING:
    from data_prep.semantic.encoder import SentenceEncoder

_OF_VECTORS = ("max_length", "prefix", "dtype")
"""The options that change a vector, beside the encoder itself."""


class _MeaningStep:
    name: ClassVar[str]
    takes: ClassVar[type[SemanticOptions]]

    def __init__(self, **options: Any) -> None:
        self.heading = self.name
        self._options = self.takes(**options)
        encoder = Path(self._options.encoder)
        if not encoder.is_dir():
            raise UserError(f"data.steps.{self.name}.encoder={encoder}: no such folder; give a sentence encoder's")
        check_whole(encoder, f"data.steps.{self.name}.encoder")
        self.options: Mapping[str, object] = {**options, "encoder": folder_digest(encoder)}

    def find(self, shards: Sequence[Path], dropped: Sequence[Drops], work: Path, workers: Pool, into: Path) -> int:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        return find_by_meaning(self.name, shards, dropped, self._options, work, workers, into)


class SemDedup(_MeaningStep):
    """Drops all but one of documents that mean nearly the same.

    Raises:
        UserError: no folder of an encoder, or one with a file that is cut short.
    """

    name = "semdedup"
    takes = SemDedupOptions


class Prototypes(_MeaningStep):
    """Drops the documents that are most like their prototype, or least.

    Raises:
        UserError: no folder of an encoder, or one with a file that is cut short.
    """

    name = "prototypes"
    takes = PrototypeOptions


def find_by_meaning(
    name: str,
    units: Sequence[Path],
    dropped: Sequence[Drops],
    options: SemanticOptions,
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

    of_vectors = [folder_digest(Path(options.encoder)), *(getattr(options, key) for key in _OF_VECTORS)]
    folder = work / "vectors" / hashlib.blake2b(orjson.dumps(of_vectors), digest_size=8).hexdigest()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{unit.name}.npy" for unit in units]
    made = [path for path in paths if path.is_file()]
    for _, dimension in workers.run(_dimension, [(made[:1], options)]):
        a_document = dimension * np.dtype(options.dtype).itemsize + 2 * ASSIGNED.itemsize + semdedup.COPY_BYTES
        say_room(name, sum(document_counts(units)), a_document, work)
    calls = [(path, unit, name, options) for path, unit in zip(paths, units, strict=True) if not path.is_file()]
    for _ in workers.run(_embed, calls):
        pass
    without = {path: DroppedIndices(gone) for path, gone in zip(paths, dropped, strict=True) if gone.paths}
    corpus = VectorCorpus.open(paths, without)
    with keys_in_full(name, type(options)):
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


def _dimension(made: Sequence[Path], options: SemanticOptions) -> int:
    """Return how many numbers a vector has: what an earlier run has made says it, else the encoder."""
    from data_prep.semantic.embeddings import VectorCorpus

    return VectorCorpus.open(made).dimension if made else _encoder(options).dimension


def _embed(path: Path, documents: Path, name: str, options: SemanticOptions) -> None:
    """Publish the vectors of all documents of a unit, the dropped ones included."""
    from data_prep.semantic.embeddings import embed_shard

    texts = [document.text for document in read_kept(documents)]
    with keys_in_full(name, type(options)):
        encoder = _encoder(options)
    embed_shard(encoder, texts, path, options.dtype)


@cache
def _encoder(options: SemanticOptions) -> SentenceEncoder:
    from data_prep.semantic.encoder import SentenceEncoder

    return SentenceEncoder.of(options)
