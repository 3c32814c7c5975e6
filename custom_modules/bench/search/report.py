"""What a search has found, for people, for programs and for the run that takes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from custom_modules.bench.row import Row, make_row
from custom_modules.bench.search.machine import Machine
from custom_modules.bench.search.others import others_beside
from custom_modules.bench.search.records import Measured, Records
from custom_modules.bench.search.space import Space
from custom_modules.bench.search.strategy import Failure, Found
from custom_modules.bench.search.trials import Setting, Trial, Values, differing, overrides, run_values
from custom_modules.bench.table import binary
from custom_modules.config.schema import TrainingConfig
from custom_modules.files import whole_file
from custom_modules.plan.remedies import with_changes
from custom_modules.run_folder.run_config import config_text
from custom_modules.text import table

FASTEST = "fastest"
"""The name of the recipe that is written."""
SHOWN = 8
"""Settings that the table has."""


@dataclass(frozen=True)
class Winner:
    """The fastest settings of a search, as a run takes them."""

    found: Found
    config: TrainingConfig
    overrides: tuple[str, ...]
    """``key=value``, where it differs from what was searched for."""
    rows: tuple[Row, ...]
    """What was measured with them, by stage."""


def in_short(space: Space, measured: Measured) -> str:
    """Say in a line what became of a trial."""
    trial = measured.trial
    again = f", again ({trial.repeat})" if trial.repeat else ""
    what = f"{trial.stage}, {_size(space, trial)}, {_name(space, trial.setting)}{again}"
    if not isinstance(measured.outcome, Failure):
        return f"{what}: {measured.outcome:,.0f} tokens/s"
    return f"{what}: {measured.problem}" + (f": {measured.advice}" if measured.advice else "")


def choose_winner(space: Space, records: Records, found: Found) -> Winner:
    """Make the run's config of the fastest setting."""
    values = differing(space.config, run_values(space.config, found.setting, found.sizes, space.held))
    rows = tuple(_row(space, records, found, stage) for stage in space.stages)
    return Winner(found, with_changes(space.config, values), tuple(overrides(values)), rows)


def write_winner(winner: Winner, machine: Machine, folder: Path) -> Path:
    """Publish the config, a recipe of its own, and return where.

    Raises:
        UserError: the disk refuses.
    """
    path = folder / f"{FASTEST}.yaml"
    chosen = " ".join(winner.overrides) or "as it was configured"
    speed = f"{winner.found.tokens_per_second:,.0f} tokens/s on {_devices(winner.config, machine)}"
    head = f"# What `danube bench --search` found fastest, {speed}:\n# {chosen}\n"
    whole_file(path, (head + config_text(winner.config)).encode())
    return path


def render(
    space: Space, records: Records, found: list[Found], winner: Winner, written: Path | None, command: str
) -> Iterator[str]:
    """Yield the lines for people.

    Args:
        found: every setting that was measured in all stages, the fastest first.
        written: the winner's recipe.
        command: that trains it.
    """
    config, machine = winner.config, space.machine
    yield f"{len(records.measured):,} measurements in {records.spent / 60:,.1f} minutes on {_devices(config, machine)}"
    yield "Settings that were measured in every stage, by its fastest step and micro-batch"
    lines = [
        (_name(space, one.setting), f"{one.tokens_per_second:,.0f}", f"{found[0].seconds / one.seconds - 1:+.1%}")
        for one in found[:SHOWN]
    ]
    yield from table(["setting", "tokens/s", "of the first"], lines)
    yield ""
    yield "The fastest, by stage"
    header = ["stage", "micro-batch", "tokens/s", "a device", "TFLOP/s", "whole s x s", "MFU"]
    header += ["memory", "plan", "off by"]
    yield from table(header, [_cells(space, winner.found, row) for row in winner.rows])
    for row in winner.rows:
        yield from others_beside(config, row.seq_length, machine.device_name)
    failed = [measured for measured in records.measured if measured.problem]
    if failed:
        yield ""
        yield "Not measured"
        yield from (f"  {in_short(space, measured)}" for measured in failed)
    yield ""
    yield "tokens/s: of all devices, by the median step. TFLOP/s and MFU: of a device, forward and backward, with the"
    yield "  causal mask and the window counted; whole s x s: as if every token saw every other. memory: of the fullest"
    yield "  process; plan: what `danube plan` counts of it."
    if machine.accelerator == "cpu":
        yield "  On a CPU, memory is what the process grew by since it began, and trainer.peak_tflops gives the peak."
    yield ""
    yield "As overrides:"
    yield f"  {shlex.join(winner.overrides)}" if winner.overrides else "  none: it is as configured"
    if written is not None:
        yield f"As a recipe, {written}:"
        yield f"  danube {command} --config-dir {shlex.quote(str(written.parent))} --config-name {written.stem}"


def as_json(space: Space, records: Records, found: list[Found], winner: Winner, written: Path | None) -> str:
    """Return one JSON object: ``overrides`` and ``recipe`` of the fastest setting, its ``rows`` with the fields of
    `Row`; ``settings``, the fastest first; ``measurements``, all; ``machine``."""
    settings = [
        {"overrides": _changed(space, one.setting), "tokens_per_second": one.tokens_per_second, "rates": one.rates}
        for one in found
    ]
    plain: dict[str, Any] = {
        "overrides": list(winner.overrides),
        "recipe": str(written) if written else None,
        "rows": [row.as_dict() for row in winner.rows],
        "settings": settings,
        "measurements": [measured.as_dict() for measured in records.measured],
        "machine": asdict(space.machine),
    }
    return json.dumps(plain, indent=2)


def _row(space: Space, records: Records, found: Found, stage: str) -> Row:
    """Return the figures of the fastest of a stage's measurements."""
    size = found.sizes[stage]
    measured = [
        one
        for one in records.measured
        if (one.trial.setting, one.trial.stage, one.trial.size) == (found.setting, stage, size) and one.timing
    ]
    chosen = max(measured, key=lambda one: one.timing.fastest if one.timing else 0)
    return make_row(_name(space, found.setting), space.trial_config(chosen.trial), stage, chosen.timing, None)


def _devices(config: TrainingConfig, machine: Machine) -> str:
    devices = config.trainer.devices
    return f"{devices} x {machine.chip}" if machine.accelerator == "gpu" else f"{machine.chip}, {devices} process(es)"


def _changed(space: Space, setting: Setting) -> list[str]:
    values: Values = dict(setting)
    return list(overrides(differing(space.config, values)))


def _name(space: Space, setting: Setting) -> str:
    return " ".join(_changed(space, setting)) or "as configured"


def _size(space: Space, trial: Trial) -> str:
    length = space.seq_length(trial.stage)
    again = f", {trial.size.granularity} recomputation" if trial.size.granularity else ""
    return f"{trial.size.micro_batch_size} x {length:,} tokens{again}"


def _cells(space: Space, found: Found, row: Row) -> tuple[str, ...]:
    figures = row.figures
    assert figures is not None, row
    return (
        row.stage,
        _size(space, Trial(found.setting, row.stage, found.sizes[row.stage])),
        f"{figures.tokens_per_second:,.0f}",
        f"{figures.tokens_per_second_per_device:,.0f}",
        f"{figures.tflops_per_device:,.4g}",
        f"{figures.whole_square_tflops_per_device:,.4g}",
        f"{figures.mfu:.1%}" if figures.mfu is not None else "unknown",
        binary(figures.memory_bytes),
        binary(figures.planned_memory_bytes),
        f"{figures.memory_difference:+,.0%}",
    )
