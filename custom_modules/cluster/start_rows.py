"""What one process finds out about a start before it: memory, disk, progress, restarts and first weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from custom_modules.cluster.checked_run import CheckedRun
from custom_modules.cluster.outcome import Outcome
from custom_modules.config.batch import micro_batch
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Stage
from custom_modules.errors import UserError
from custom_modules.plan.memory import fullest_device
from custom_modules.plan.remedies import advice
from custom_modules.run_folder.checkpoint_files import Checkpoint, find_newest
from custom_modules.run_folder.ownership import claim_run_folder
from custom_modules.run_folder.rollbacks import count_rollbacks
from custom_modules.run_folder.starts import Start, record_start, this_start
from custom_modules.text import decimal_bytes


def device_and_progress_rows(run: CheckedRun, rows: list[Outcome], room: int, on_cpu: bool) -> list[Outcome]:
    """Add what one process finds alone: memory, disk, progress and restarts, and the weights to begin with.

    Args:
        rows: what all of them have found.
        room: bytes of the smallest device.
        on_cpu: whether megatron-core's own layers compute.
    """
    config = run.config
    try:
        checkpoint, _ = find_newest(config.run_dir, verify_contents=False)
    except UserError as error:
        return [*rows, Outcome("progress", "no whole checkpoint is left", str(error))]
    consumed = checkpoint.consumed_tokens if checkpoint else 0
    try:
        name, end = run.target()
    except UserError:
        # The row of the data has said why.
        return rows
    if consumed >= end:
        return [*rows, Outcome("progress", f"{name} is finished: {consumed:,} tokens")]
    found = f"{consumed:,} of the {end:,} tokens that end {name}"
    problem, start = None, this_start(consumed, rollbacks=count_rollbacks(config.run_dir))
    if start and not any(row.problem and not row.passes for row in rows):
        found += f"; job {start.job_id}, restart {start.restart}"
        try:
            _record(config, start)
        except UserError as error:
            problem = str(error)
    rows = [*rows, *_tasks(run)]
    if not any(row.check == "devices" and row.problem for row in rows):
        rows = [*rows, _memory(config, run.stages_to_come(consumed), room, on_cpu, resumed=checkpoint is not None)]
    rows = [*rows, _disk(run, checkpoint), Outcome("progress", found, problem)]
    begins_elsewhere = checkpoint is None and run.begins_elsewhere
    has_data = not any(row.check == "data" and row.problem for row in rows)
    return [*rows, _base(run)] if begins_elsewhere and has_data else rows


def _tasks(run: CheckedRun) -> list[Outcome]:
    """What a run that is scored on tasks needs for that: rank 0 alone builds them."""
    try:
        found = run.check_tasks()
    except UserError as error:
        return [Outcome("tasks", "cannot be scored", str(error))]
    return [] if found is None else [Outcome("tasks", found)]


def record_failed_start(config: TrainingConfig) -> None:
    """Count a start that came to nothing, too, so that not one follows another for ever."""
    checkpoint, _ = find_newest(config.run_dir, verify_contents=False)
    consumed = checkpoint.consumed_tokens if checkpoint else 0
    if start := this_start(consumed, rollbacks=count_rollbacks(config.run_dir)):
        _record(config, start)


def _record(config: TrainingConfig, start: Start) -> None:
    """Raises UserError: the folder is no run's, or the job's restarts bring nothing."""
    claim_run_folder(config.run_dir)
    record_start(config.run_dir, start)


def _base(run: CheckedRun) -> Outcome:
    """The weights that the first start begins with."""
    try:
        base = run.base()
    except UserError as error:
        return Outcome("weights", str(run.config.model.restore_from_path), str(error))
    assert base is not None
    return Outcome("weights", f"to begin with those of {base.path}")


def _memory(config: TrainingConfig, stages: Sequence[Stage], room: int, on_cpu: bool, resumed: bool) -> Outcome:
    """Compare the plan with the smallest device; a dry run finds what is nearer than a plan can tell."""
    totals = {stage.name: fullest_device(config, stage, on_cpu).total for stage in stages}
    stage = max(totals, key=lambda name: totals[name])
    found = f"{totals[stage] / 2**30:,.1f} of {room / 2**30:,.1f} GiB by the plan, in {stage}"
    if totals[stage] <= room:
        return Outcome("memory", found)
    batch = micro_batch(config, stage)
    what = f"{batch.key}={batch.value}: {stage} needs {found}"
    return Outcome("memory", found, f"{what}; {advice(config, stage, room, on_cpu, resumed)}")


def _disk(run: CheckedRun, checkpoint: Checkpoint | None) -> Outcome:
    missing, needed = run.checkpoints_to_come(checkpoint)
    run_dir = run.config.run_dir
    folder = next(path for path in (run_dir, *run_dir.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    found = f"{decimal_bytes(free)} free, {decimal_bytes(needed)} needed for {missing} more checkpoint(s)"
    problem = f"{folder}: {found}; free some space, or set exp_manager.exp_dir to a larger disk"
    return Outcome("disk", found, problem if free < needed else None)
