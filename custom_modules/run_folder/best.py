"""Which checkpoints of a run have the least training loss: half of the choice of a final one (LokiLM, section 3.1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint, list_folders, open_checkpoint

MONITOR = "reduced_train_loss"
"""NeMo's name of it: the mean over the steps since the checkpoint before, against the text itself."""


def whole_checkpoints(run_dir: Path, never: Collection[Path] = ()) -> list[Checkpoint]:
    """Return the checkpoints of a run that look whole, oldest first.

    Args:
        never: folders that are passed over, such as damaged ones.
    """
    whole = []
    for path in list_folders(run_dir):
        if path not in never:
            try:
                whole.append(open_checkpoint(path, verify_contents=False))
            except UserError:
                continue
    return whole


def best_of_last_stage(checkpoints: Sequence[Checkpoint], count: int) -> list[Checkpoint]:
    """Return the checkpoints of the least mean loss since the one before, best first; of equal ones the later first.

    Losses of different mixes say nothing of each other, so those of the newest checkpoint's stage alone compete.

    Args:
        checkpoints: of one run, oldest first.
        count: how many at most.
    """
    known = [
        (checkpoint.progress.reduced_train_loss, -checkpoint.consumed_tokens, checkpoint)
        for checkpoint in checkpoints
        if checkpoint.stage == checkpoints[-1].stage
    ]
    ranked = sorted((loss, age, checkpoint) for loss, age, checkpoint in known if loss is not None)
    return [checkpoint for _, _, checkpoint in ranked[:count]]


def best_of_run(run_dir: Path) -> list[Checkpoint]:
    """Return the best checkpoints of a run, best first, as many as it keeps; none where it keeps them by age alone.

    Raises:
        UserError: what is there cannot be listed.
    """
    whole = whole_checkpoints(run_dir)
    if not whole:
        return []
    kept = whole[-1].config().exp_manager.checkpoint_callback_params
    return best_of_last_stage(whole, kept.save_top_k) if kept.monitor and kept.save_top_k else []


def describe_best(run_dir: Path) -> str | None:
    """Say which checkpoints of a run are its best, in one line; None where it keeps them by age alone."""
    best = best_of_run(run_dir)
    if not best:
        return None
    named = ", ".join(f"{checkpoint.path.name} ({checkpoint.progress.reduced_train_loss:.4f})" for checkpoint in best)
    return f"{run_dir}: of {best[0].stage} the best by {MONITOR} are {named}"
