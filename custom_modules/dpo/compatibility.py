"""Whether a DPO run may go on from a checkpoint: with the config and the pairs that it was made with."""

from __future__ import annotations

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.load import validate, with_defaults
from custom_modules.config.marks import may_change
from custom_modules.dpo.base_model import is_dpo_checkpoint
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.text import flatten

DATA = "dpo"
"""The key of the pairs' digest in a checkpoint's progress."""


def check_resumable(config: DpoConfig, digest: str, checkpoint: Checkpoint) -> None:
    """Refuse to continue a checkpoint under a config, or with pairs, that contradict it.

    Args:
        digest: of the training data.

    Raises:
        UserError: every difference, as ``key: checkpoint -> config``, in one line that says how to begin anew.
    """
    if not is_dpo_checkpoint(checkpoint):
        raise UserError(f"{checkpoint.path}: of another kind of run; set another exp_manager.name")
    before = validate(with_defaults(checkpoint.plain_config), kind=DpoConfig)
    saved, now = (dict(flatten(each.model_dump(mode="json"))) for each in (before, config))
    changed = [key for key in sorted(saved.keys() | now.keys()) if saved.get(key) != now.get(key)]
    if kept := [key for key in changed if not may_change(DpoConfig, key)]:
        said = "; ".join(f"{key}: {saved.get(key)} -> {now.get(key)}" for key in kept)
        raise UserError(
            f"{checkpoint.path}: the config contradicts the checkpoint (checkpoint -> config): {said}; take them back, "
            "or set another exp_manager.name to start anew"
        )
    if checkpoint.progress.data.get(DATA) != digest:
        raise UserError(
            f"{checkpoint.path}: trained on other pairs than {config.data.dir} now has, so its position means nothing "
            "there; set data.dir to the data it was trained on, or another exp_manager.name to start anew"
        )
