"""What `danube prepare` says of its result."""

from __future__ import annotations

from collections.abc import Sequence

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.plan.prepared import read_prepared
from custom_modules.text import as_yaml, spelled
from data_prep.input.input_files import DamagedFile
from data_prep.tokenize.tokenize_corpus import TokenizedCorpus
from data_prep.work.damaged_files import damage_lines
from data_prep.work.progress import count


def reading_lines(
    damaged: Sequence[DamagedFile], warnings: Sequence[str], skipped: int, first: Sequence[str]
) -> list[str]:
    """What is said of the reading: every file that could not be read, warnings, then bad records.

    Args:
        skipped: how many bad records there are.
        first: those that are known by name.
    """
    lines = [*damage_lines(damaged), *(f"warning: {warning}" for warning in warnings)]
    if not skipped:
        return lines
    which = "" if skipped == len(first) else f"; the first {len(first)}"
    return [*lines, f"skipped {count(skipped, 'record')}{which}:", *(f"  {line}" for line in first)]


def nothing_left(config: Config, tokenized: TokenizedCorpus) -> UserError:
    """Make the error of a corpus without a document, which says what became of all that was read."""
    sources = " ".join(f"data.sources.{name}" for name in config.data.sources)
    where = sources or spelled(f"data.input={as_yaml(config.data.input)}")
    removed = {step: sum(reasons.values()) for step, reasons in tokenized.removed.items()}
    reasons = [*map(str, tokenized.damaged[:1]), *tokenized.first_skipped[:1]]
    if removed:
        each = " and ".join(f"data.steps.{step} removed {number:,}" for step, number in removed.items())
        reasons = [f"{each} of {sum(removed.values()):,}: change the options, or leave a step out (null)", *reasons]
    return UserError("; ".join([f"{where}: no document {'is left' if removed else 'in it'}", *reasons]))


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
