"""SemDeDup and self-supervised-prototypes pruning over the whole corpus: vectors by unit, then what to drop."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from custom_modules.data_steps.options import PrototypeOptions, SemanticOptions, SemDedupOptions
from custom_modules.data_steps.read import keys_in_full
from custom_modules.errors import UserError
from custom_modules.files import explained, folder_digest
from data_prep.input.documents import Removal
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

    def find(
        self, shards: Sequence[Path], dropped: Sequence[Mapping[int, Removal]], work: Path, workers: Pool
    ) -> list[dict[int, Removal]]:
        """Find what to drop: see `data_prep.across.corpus_step.CorpusStep.find`."""
        return find_by_meaning(self.name, shards, dropped, self._options, work / "vectors", workers)


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
    dropped: Sequence[Mapping[int, Removal]],
    options: SemanticOptions,
    work: Path,
    workers: Pool,
) -> list[dict[int, Removal]]:
    """What one of the two steps drops.

    Args:
        units: the folder of each unit that `filter_shard` made.
        dropped: documents of each unit, by index, that are gone already.
        work: for vectors, which a later run, or the other step with the same encoder, finds again.

    Returns:
        For each unit the documents to drop, by their index in it.
    """
    from data_prep.across import prototypes, semdedup
    from data_prep.semantic.clusters import fit

    of_vectors = [folder_digest(Path(options.encoder)), *(getattr(options, key) for key in _OF_VECTORS)]
    folder = work / hashlib.blake2b(orjson.dumps(of_vectors), digest_size=8).hexdigest()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{unit.name}.npy" for unit in units]
    calls = [(path, unit, name, options) for path, unit in zip(paths, units, strict=True) if not path.is_file()]
    for _ in workers.run(_embed, calls):
        pass
    without = {path: set(gone) for path, gone in zip(paths, dropped, strict=True)}
    with keys_in_full(name, type(options)):
        centroids = fit(paths, options, without)
    if isinstance(options, SemDedupOptions):
        found = semdedup.removals(paths, centroids, options, without)
    else:
        assert isinstance(options, PrototypeOptions)
        found = prototypes.removals(paths, centroids, options, without)
    return [dict(found[path]) for path in paths]


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
