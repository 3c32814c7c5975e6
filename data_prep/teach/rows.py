"""A teacher's distributions over the tokens of the distilled parts, as rows beside them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from custom_modules.config.schema import Config
from custom_modules.distillation.rows import (
    RowsNote,
    fault_of_note,
    note_file,
    read_rows_note,
    rows_file,
    rows_suffix,
)
from custom_modules.distillation.rows_writer import publish_rows, reserve_rows, write_shard
from custom_modules.errors import UserError
from custom_modules.files import explained, sha256_of
from custom_modules.text import decimal_bytes
from data_prep.teach.job import Between
from data_prep.teach.parts import DistilledPart
from data_prep.teach.register import register
from data_prep.teach.score import Covered, Scores
from data_prep.teach.shards import Shard
from data_prep.teach.work import Work

RULES = 1
"""Raised whenever the same teacher and data would give other rows."""


@dataclass(frozen=True)
class RowsJob:
    """One teacher's rows: a `data_prep.teach.job.Job`.

    Attributes:
        name: the teacher's, in ``distillation.teachers``.
        scores: where they come from.
        k: ids of a record.
    """

    config: Config
    name: str
    scores: Scores
    k: int
    shard_tokens: int

    def is_up_to_date(self, part: DistilledPart) -> bool:
        """Tell whether the manifest names rows of this teacher, of this data and these options."""
        path = rows_file(part.part.prefix, self.name)
        digest = part.part.sha256.get(rows_suffix(self.name))
        if digest is None or not path.is_file() or Work.is_left(Path(self.config.data.dir), self.name, part.name):
            return False
        with suppress(UserError):
            note = read_rows_note(path)
            sound = fault_of_note(note, self.name, part.data, path.stat().st_size) is None
            return sound and (note.sha256, note.k, note.model) == (digest, self.k, self._model)
        return False

    @property
    def _model(self) -> str:
        return f"{self.scores.identity}, rules {RULES}"

    def open_work(self, part: DistilledPart) -> Work:
        """Take the folder in which the rows of a part are made."""
        data = part.data
        made_of = {
            "model": self._model,
            "distillation.top_k": self.k,
            "shard_tokens": self.shard_tokens,
            "tokenizer": data.tokenizer_sha256,
            "data": [data.bin_sha256, data.idx_sha256],
        }
        return Work(Path(self.config.data.dir), self.name, part.name, made_of)

    def do(self, part: DistilledPart, work: Work, shard: Shard, between: Between) -> dict[str, Any]:
        """Score a shard's documents."""
        records, covered = self.scores.score(part.documents(shard), between)
        reserve_rows(work.aside, part.part.tokens, self.k)
        write_shard(work.aside, shard.token, records)
        return asdict(covered)

    def publish(self, part: DistilledPart, work: Work, results: Sequence[dict[str, Any]]) -> str:
        """Put the rows beside the part, and in its manifest."""
        path, data = rows_file(part.part.prefix, self.name), part.data
        covered = reduce(add, (Covered(**result) for result in results))
        with explained(work.aside):
            digest = sha256_of(work.aside if work.aside.exists() else path)
        note = RowsNote(
            teacher=self.name,
            model=self._model,
            k=self.k,
            tokens=data.tokens,
            positions=covered.positions,
            covered=covered.covered,
            bin_sha256=data.bin_sha256,
            idx_sha256=data.idx_sha256,
            tokenizer_sha256=data.tokenizer_sha256,
            vocab_size=data.vocab_size,
            sha256=digest,
        )
        publish_rows(work.aside, path, note)
        suffix = rows_suffix(self.name)
        register(self.config, part.part, {suffix: path, f"{suffix}.json": note_file(path)}, {suffix: digest})
        return (
            f"{self.name}: {part.title}: {path}, {decimal_bytes(path.stat().st_size)}; it says something at "
            f"{note.share:.2%} of {note.positions:,} positions"
        )
