"""What a data card says of the recipe: the steps that were on and off, and the shares of the sources."""

from __future__ import annotations

from collections.abc import Sequence

from custom_modules.config.schema import Config
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.report.shares import StageShares
from custom_modules.text import as_yaml
from data_prep.output.card_format import Bar

Row = tuple[str, ...]


def step_rows(config: Config) -> list[Row]:
    """Rows of every step in the order they run, below a header: name, what it is from, its options or ``left out``."""
    chosen = config.data.steps.chosen
    rows: list[Row] = [("step", "from", "options that were given")]
    for step in DATA_STEPS:
        options = chosen.get(step.name)
        given = "left out" if options is None else as_yaml(options) if options else "its defaults"
        rows.append((step.name, step.source, given))
    return rows


def share_rows(stages: Sequence[StageShares]) -> list[Row]:
    """Rows of every stage and source, below a header: its shares in the paper, planned and prepared."""
    rows: list[Row] = [("stage", "source", "in the paper", "planned", "prepared")]
    for stage in stages:
        for source in dict.fromkeys((*stage.planned, *stage.prepared)):
            reported = f"{stage.reported[source]:.1%}" if source in stage.reported else ""
            shares = stage.planned.get(source, 0.0), stage.prepared.get(source, 0.0)
            rows.append((stage.name, source, reported, *(f"{share:.1%}" for share in shares)))
    return rows


def share_bars(stages: Sequence[StageShares]) -> list[Bar]:
    """Two bars a stage, planned and prepared, as the paper's Figure 2 has them."""
    return [
        Bar(stage.name if kind == "planned" else "", kind, shares)
        for stage in stages
        for kind, shares in (("planned", stage.planned), ("prepared", stage.prepared))
    ]
