"""Disk space that a run has still to take."""

from __future__ import annotations

from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.sft import SftConfig
from custom_modules.plan.kept import checkpoints_kept
from custom_modules.plan.memory import checkpoint_bytes
from custom_modules.plan.plan import build_plan
from custom_modules.run_folder.checkpoint_files import Checkpoint, list_folders


def checkpoints_to_come(config: Config, checkpoint: Checkpoint | None) -> tuple[int, int]:
    """What the run's folder has still to hold by the plan, less what is there: checkpoints, and their bytes."""
    return _to_come(config, build_plan(config).checkpoints_kept, checkpoint)


def tuned_checkpoints_to_come(config: SftConfig, total_tokens: int, checkpoint: Checkpoint | None) -> tuple[int, int]:
    """Return the same of a fine-tuning run of so many tokens."""
    params = config.exp_manager.checkpoint_callback_params
    return _to_come(config, checkpoints_kept(params, config.trainer.max_epochs, total_tokens), checkpoint)


def _to_come(config: TrainingConfig, kept: int, checkpoint: Checkpoint | None) -> tuple[int, int]:
    there = [path for path in list_folders(config.run_dir) if checkpoint and path <= checkpoint.path]
    missing = max(1, kept + 1 - len(there))
    return missing, missing * checkpoint_bytes(config)
