"""What is there of a run's teachers beside a dataset, and whether it is theirs and of this data. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from custom_modules.config.distillation import DistillationConfig
from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.data.blends import blends_of
from custom_modules.data.index import open_index
from custom_modules.data.manifest import Manifest, Part
from custom_modules.distillation.rows import AGAIN, DataOfRows, Rows, open_rows, rows_file, rows_suffix
from custom_modules.errors import UserError


def data_of_rows(manifest: Manifest, part: Part) -> DataOfRows:
    """Return what a teacher's rows beside a part have to be of."""
    tokenizer = manifest.tokenizer
    return DataOfRows(part.sha256["bin"], part.sha256["idx"], part.tokens, tokenizer.sha256, tokenizer.vocab_size)


def open_distributions(distillation: DistillationConfig, manifest: Manifest, part: Part) -> list[Rows]:
    """Open the rows beside a part of every teacher with distributions, in their order.

    Raises:
        UserError: there are none, they are not of this data, or of another number of tokens than
            ``distillation.top_k``, or the manifest does not name them.
    """
    index, data = open_index(part.idx), data_of_rows(manifest, part)
    opened = []
    for teacher in distillation.distributions:
        rows = open_rows(part.prefix, teacher, data, index.pointers, index.dtype.itemsize)
        path = rows_file(part.prefix, teacher)
        if rows.note.k != distillation.top_k:
            raise UserError(
                f"distillation.top_k={distillation.top_k}: {path} has {rows.note.k} tokens at each position; set it to "
                f"that, or {AGAIN}"
            )
        if part.sha256.get(rows_suffix(teacher)) != rows.note.sha256:
            raise UserError(f"{path}: not the rows that {manifest.path} names; {AGAIN}")
        opened.append(rows)
    return opened


def check_teachers(config: Config, manifest: Manifest, stages: Sequence[Stage]) -> None:
    """Make sure that every teacher of a run has what the distilled parts of some stages need.

    Raises:
        UserError: as `open_distributions`.
    """
    if config.distillation is None or not config.distillation.teachers:
        return
    for stage in stages:
        for blend in blends_of(config, stage, manifest.parts(stage.name, "train")):
            for part in blend.parts if blend.stream == "distilled" else ():
                open_distributions(config.distillation, manifest, part)
