"""What is there of a run's teachers beside a dataset, and whether it is theirs and of this data. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_modules.config.distillation import DistillationConfig
from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.data.blends import blends_of
from custom_modules.data.check_taught import data_of_rows
from custom_modules.data.index import open_index
from custom_modules.data.manifest import Manifest, Part
from custom_modules.distillation.rows import AGAIN, Rows, open_rows, rows_file, rows_suffix
from custom_modules.distillation.texts import check_texts, texts_prefix, texts_suffix
from custom_modules.errors import UserError


@dataclass(frozen=True)
class Said:
    """What a run's teachers have said beside one part."""

    rows: tuple[Rows, ...]
    """Of each teacher with distributions, in their order."""
    texts: tuple[Path, ...]
    """The prefix of the indexed dataset of each teacher with texts, in their order."""


def open_said(distillation: DistillationConfig, manifest: Manifest, part: Part) -> Said:
    """Open what every teacher has said beside a part.

    Raises:
        UserError: it is not there, not of this data, not what the manifest names, or made with another
            ``distillation.top_k`` or ``prefix_tokens``.
    """
    return Said(
        tuple(_distributions(distillation, manifest, part)),
        tuple(_texts(distillation, manifest, part)),
    )


def _distributions(distillation: DistillationConfig, manifest: Manifest, part: Part) -> Iterator[Rows]:
    index, data = open_index(part.idx), data_of_rows(manifest, part)
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
        yield rows


def _texts(distillation: DistillationConfig, manifest: Manifest, part: Part) -> Iterator[Path]:
    data = data_of_rows(manifest, part)
    for teacher in distillation.texts:
        note = check_texts(part.prefix, teacher, data, part.documents, distillation.prefix_tokens)
        path = texts_prefix(part.prefix, teacher)
        for kind in ("bin", "idx"):
            name = f"{texts_suffix(teacher)}.{kind}"
            file = part.beside(name)
            if part.sha256.get(name) != note.sha256.get(kind):
                raise UserError(f"{file}: not the texts that {manifest.path} names; {AGAIN}")
            if (size := file.stat().st_size) != part.bytes[name]:
                raise UserError(f"{file}: {size} bytes, but the manifest says {part.bytes[name]}; {AGAIN}")
        yield path


def check_teachers(config: Config, manifest: Manifest, stages: Sequence[Stage]) -> None:
    """Make sure that every teacher of a run has what the distilled parts of some stages need.

    Raises:
        UserError: as `open_said`.
    """
    if config.distillation is None or not config.distillation.teachers:
        return
    for stage in stages:
        for blend in blends_of(config, stage, manifest.parts(stage.name, "train")):
            for part in blend.parts if blend.stream == "distilled" else ():
                open_said(config.distillation, manifest, part)
