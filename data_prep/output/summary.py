"""What `danube prepare` says of its result."""

from __future__ import annotations

from collections.abc import Sequence

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import Manifest
from custom_modules.plan.prepared import read_prepared
from data_prep.work.progress import count


def skipped_lines(skipped: int, first: Sequence[str]) -> list[str]:
    """A heading with the count, and the records that are known by name."""
    if not skipped:
        return []
    which = "" if skipped == len(first) else f"; the first {len(first)}"
    return [f"skipped {count(skipped, 'record')}{which}:", *(f"  {line}" for line in first)]


def table(config: Config, prepared: Manifest) -> list[str]:
    """A line per stage: documents, tokens, budget, and how often training reads them."""
    rows = [("stage", "documents", "tokens", "budget", "epochs", "validation documents", "tokens")]
    notes = []
    for name, stage in read_prepared(config, Curriculum.from_config(config)).stages.items():
        train, validation = prepared.parts(name, "train"), prepared.parts(name, "validation")
        rows.append(
            (
                name,
                f"{sum(part.documents for part in train):,}",
                f"{stage.tokens:,}",
                f"{config.curriculum.stages[name].tokens:,}",
                f"{stage.epochs or 0:.2f}",
                f"{sum(part.documents for part in validation):,}",
                f"{sum(part.tokens for part in validation):,}",
            )
        )
        if stage.refused:
            notes.append(f"{name}: training would be {stage.refused}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows] + notes
