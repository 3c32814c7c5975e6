"""Disk space that a run has still to take."""

from __future__ import annotations

from custom_modules.config.schema import Config
from custom_modules.plan.plan import build_plan
from custom_modules.run_folder.checkpoint_files import Checkpoint, list_folders


def checkpoints_to_come(config: Config, checkpoint: Checkpoint | None) -> tuple[int, int]:
    """What the run's folder has still to hold by the plan, less what is there: checkpoints, and their bytes."""
    plan = build_plan(config)
    there = [path for path in list_folders(config.run_dir) if checkpoint and path <= checkpoint.path]
    missing = max(1, plan.checkpoints_kept + 1 - len(there))
    return missing, missing * plan.checkpoint_bytes
