"""The stretch of a run that a rollback leaves behind: its checkpoints and metrics are set aside, never deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import explained, sync, whole_file
from custom_modules.run_folder.checkpoint_files import Checkpoint, checkpoints_dir, list_folders
from custom_modules.run_folder.metadata import read_metadata
from custom_modules.run_folder.metrics import METRICS, Record, lines_beyond, read_metrics
from custom_modules.run_folder.rollbacks import ROLLBACKS, Rollback

_METRICS = "rolled_back_{}.jsonl"
ABANDONED_METRICS = re.compile(r"rolled_back_\d+\.jsonl")


def abandoned_metrics(run_dir: Path, number: int) -> list[Record]:
    """Return what a run had logged and went back from, in the order it was written; nothing where that is not known.

    Args:
        number: of the rollback, from 0.
    """
    name = _METRICS.format(number)
    return read_metrics(run_dir, name) if (run_dir / name).is_file() else []


def set_aside(run_dir: Path, rollbacks: Sequence[Rollback]) -> list[Path]:
    """Set aside what the rollbacks left behind, as far as it is not done yet. One process calls it.

    Metrics go to a file of their own first, and checkpoints are then renamed: a run that is killed in between goes on
    here.

    Returns:
        The checkpoints as they are called then.

    Raises:
        UserError: a checkpoint was made after other rollbacks, or the disk refuses.
    """
    doomed = list(_doomed(run_dir, rollbacks))
    if rollbacks and not (run_dir / _METRICS.format(len(rollbacks) - 1)).exists() and not _went_on(run_dir, rollbacks):
        lines = lines_beyond(run_dir / METRICS, rollbacks[-1].from_tokens)
        whole_file(run_dir / _METRICS.format(len(rollbacks) - 1), b"".join(lines))
    renamed = [_rename(path, number) for path, number in doomed]
    if renamed:
        with explained(checkpoints_dir(run_dir)):
            sync(checkpoints_dir(run_dir))
    return renamed


def known_rollbacks(run_dir: Path, in_file: Sequence[Rollback], checkpoint: Checkpoint) -> list[Rollback]:
    """Return the rollbacks that a run goes on with: the file's, or a checkpoint's copy where that knows of more.

    Raises:
        UserError: neither list begins with the other.
    """
    copy = checkpoint.progress.rollbacks
    shorter = min(len(in_file), len(copy))
    if list(in_file[:shorter]) != copy[:shorter]:
        raise UserError(
            f"{run_dir / ROLLBACKS}: another run's: {checkpoint.path.name} was made after other rollbacks; put the "
            "file back from a copy, or remove it, and the copy in the newest checkpoint takes its place"
        )
    return list(in_file) if len(in_file) > len(copy) else list(copy)


def _doomed(run_dir: Path, rollbacks: Sequence[Rollback]) -> list[tuple[Path, int]]:
    """Return the checkpoints of abandoned stretches, with the number of the rollback that left each behind."""
    found = []
    for path in list_folders(run_dir):
        checkpoint = _readable(path)
        if checkpoint is None:
            continue
        known_rollbacks(run_dir, rollbacks, checkpoint)
        later = range(len(checkpoint.progress.rollbacks), len(rollbacks))
        behind = (n for n in later if rollbacks[n].from_tokens < checkpoint.consumed_tokens)
        number = next(behind, None)
        if number is not None:
            found.append((path, number))
    return found


def _went_on(run_dir: Path, rollbacks: Sequence[Rollback]) -> bool:
    """Tell whether there is a checkpoint that was made after the last rollback."""
    found = [_readable(path) for path in list_folders(run_dir)]
    return any(checkpoint and len(checkpoint.progress.rollbacks) >= len(rollbacks) for checkpoint in found)


def _readable(path: Path) -> Checkpoint | None:
    with suppress(UserError):
        return Checkpoint(path, read_metadata(path))
    return None


def _rename(path: Path, number: int) -> Path:
    target = path.with_name(f"rolled_back_{number}_{path.name}")
    again = 0
    while target.exists():
        again += 1
        target = path.with_name(f"rolled_back_{number}_{again}_{path.name}")
    with explained(path):
        path.rename(target)
    return target
