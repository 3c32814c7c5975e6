"""The stages, and the phases of those whose batch grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from custom_modules.plan.phases import HEADER
from custom_modules.text import table

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan, StagePlan


def render_stages(plan: Plan) -> Iterator[str]:
    """Tabulate the stages, then the phases of batches that grow."""
    yield "Stages"
    header = [
        "stage",
        "length",
        "token budget",
        "steps",
        "up to token",
        "sequences/step",
        "micro-batch",
        "accumulation",
    ]
    rows = (
        (
            stage.name,
            f"{stage.seq_length:,}",
            f"{stage.token_budget:,}",
            f"{stage.steps:,}",
            f"{stage.end_tokens:,}",
            *_batch_cells(stage),
            f"{stage.first_learning_rate:.3e}",
            f"{stage.last_learning_rate:.3e}",
        )
        for stage in plan.stages
    )
    yield from table([*header, "first lr", "last lr"], rows)
    yield from _phases(plan)


def _batch_cells(stage: StagePlan) -> Iterator[str]:
    """Sequences of a step, micro-batch and accumulation: of the first phase to the last where the batch grows."""
    first, last = stage.phases[0], stage.phases[-1]
    for key in ("global_batch_size", "micro_batch_size", "num_microbatches"):
        ends = dict.fromkeys(f"{getattr(phase, key):,}" for phase in (first, last))
        yield " to ".join(ends)


def _phases(plan: Plan) -> Iterator[str]:
    """The phases of each stage whose batch grows."""
    growing = (stage for stage in plan.stages if stage.rampup_batch_tokens)
    rows = [phase.cells(stage.name) for stage in growing for phase in stage.phases]
    if rows:
        yield ""
        yield "Phases of the batch"
        yield from table(HEADER, rows)
