"""A teacher's texts beside the distilled parts, as indexed datasets of their own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from custom_modules.config.schema import Config
from custom_modules.data.index import IndexedDatasetWriter
from custom_modules.distillation.texts import (
    TextsNote,
    fault_of_texts,
    read_texts_note,
    texts_note_file,
    texts_prefix,
    texts_suffix,
)
from custom_modules.errors import UserError
from custom_modules.files import explained, sync, whole_file
from custom_modules.tokenizer import Tokenizer
from data_prep.steps.decontaminate import Decontaminate
from data_prep.teach.job import Between
from data_prep.teach.parts import DistilledPart
from data_prep.teach.register import register
from data_prep.teach.shards import Shard
from data_prep.teach.work import Work
from data_prep.teach.written import AlternativesMaker, Counted, Writer

RULES = 1
"""Raised whenever the same teacher and data would give other texts."""
_KINDS = ("bin", "idx")


@dataclass(frozen=True)
class TextsJob:
    """One teacher's texts: a `data_prep.teach.job.Job`.

    Attributes:
        name: the teacher's, in ``distillation.teachers``.
        student: the tokenizer of the data.
        writer: where the texts come from.
        prefix_tokens: tokens that a text has of its document.
        step: which texts it refuses; None: none.
    """

    config: Config
    name: str
    student: Tokenizer
    writer: Writer
    prefix_tokens: int
    step: Decontaminate | None
    shard_tokens: int

    @property
    def _model(self) -> str:
        clean = dict(self.step.options) if self.step else None
        return f"{self.writer.identity}, rules {RULES}, decontaminate {clean}"

    def is_up_to_date(self, part: DistilledPart) -> bool:
        """Tell whether the manifest names texts of this teacher, beside this data and of these options."""
        path = texts_note_file(part.part.prefix, self.name)
        named = f"{texts_suffix(self.name)}.json" in part.part.sha256 and path.is_file()
        if not named or Work.is_left(Path(self.config.data.dir), self.name, part.name):
            return False
        with suppress(UserError):
            note = read_texts_note(path)
            fault = fault_of_texts(note, self.name, part.data, part.part.documents, self.prefix_tokens)
            hashes = {kind: part.part.sha256.get(f"{texts_suffix(self.name)}.{kind}") for kind in _KINDS}
            return fault is None and note.model == self._model and note.sha256 == hashes
        return False

    def open_work(self, part: DistilledPart) -> Work:
        """Take the folder in which the texts of a part are made."""
        data = part.data
        made_of = {
            "model": self._model,
            "distillation.prefix_tokens": self.prefix_tokens,
            "shard_tokens": self.shard_tokens,
            "tokenizer": data.tokenizer_sha256,
            "data": [data.bin_sha256, data.idx_sha256],
        }
        return Work(Path(self.config.data.dir), self.name, part.name, made_of)

    @cached_property
    def _maker(self) -> AlternativesMaker:
        return AlternativesMaker(self.writer, self.student, self.prefix_tokens, self.step)

    def do(self, part: DistilledPart, work: Work, shard: Shard, between: Between) -> dict[str, Any]:
        """Have the texts of a shard's documents written."""
        made = self._maker.make(part.documents(shard), part.index.dtype, between)
        content = io.BytesIO()
        np.savez(content, tokens=made.tokens, lengths=made.lengths)
        whole_file(_shard_file(work, shard), content.getvalue())
        return asdict(made.counted)

    def publish(self, part: DistilledPart, work: Work, results: Sequence[dict[str, Any]]) -> str:
        """Join the shards, and put them beside the part and in its manifest."""
        data, own = part.data, texts_prefix(part.part.prefix, self.name)
        counted = reduce(add, (Counted(**result) for result in results))
        files = {kind: own.with_name(f"{own.name}.{kind}") for kind in _KINDS}
        with explained(own):
            writer = IndexedDatasetWriter(work.folder / "texts", part.index.dtype)
            for shard in part.shards(self.shard_tokens):
                with np.load(_shard_file(work, shard)) as made:
                    writer.append(made["tokens"], made["lengths"])
            documents, tokens = writer.documents, writer.tokens
            written = dict(zip(_KINDS, writer.finish(), strict=True))
            for kind, path in files.items():
                (work.folder / f"texts.{kind}").replace(path)
            sync(own.parent)
        digests = {kind: written[kind].sha256 for kind in _KINDS}
        note_path = texts_note_file(part.part.prefix, self.name)
        TextsNote(
            teacher=self.name,
            model=self._model,
            prefix_tokens=self.prefix_tokens,
            documents=documents,
            tokens=tokens,
            **asdict(counted),
            bin_sha256=data.bin_sha256,
            idx_sha256=data.idx_sha256,
            tokenizer_sha256=data.tokenizer_sha256,
            vocab_size=data.vocab_size,
            sha256=digests,
        ).write(note_path)
        suffix = texts_suffix(self.name)
        named = {f"{suffix}.{kind}": path for kind, path in files.items()} | {f"{suffix}.json": note_path}
        register(self.config, part.part, named, {f"{suffix}.{kind}": digest for kind, digest in digests.items()})
        return (
            f"{self.name}: {part.title}: {files['bin']}, texts beside {counted.texts:,} of {documents:,} documents; "
            f"{counted.too_short:,} too short to continue, {counted.without:,} without an answer, "
            f"{counted.generated_again:,} written again for a benchmark's text, {counted.dropped:,} dropped for it"
        )


def _shard_file(work: Work, shard: Shard) -> Path:
    return work.folder / f"{shard.name}.npz"
