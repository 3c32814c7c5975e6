"""Which checkpoints of a run stay: the last few, the ends of stages, one every so many tokens to go back to, and those
of the least loss."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from custom_modules.config.schema import CheckpointConfig
from custom_modules.run_folder.best import best_of_last_stage, whole_checkpoints
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.ownership import made_in_checkpoint


def prune(run_dir: Path, kept: CheckpointConfig, never: Collection[Path]) -> None:
    """Delete the whole checkpoints that need not stay.

    What the run began with stays too, and a checkpoint into whose folder somebody has put a file.

    Args:
        never: folders that are neither deleted nor counted, such as damaged ones.

    Raises:
        OSError: one cannot be taken out of the way.
    """
    whole = whole_checkpoints(run_dir, never)
    wanted = {checkpoint.path for checkpoint in _to_go_back_to(whole, kept.keep_every_n_tokens)}
    if kept.monitor and kept.save_top_k:
        wanted |= {checkpoint.path for checkpoint in best_of_last_stage(whole, kept.save_top_k)}
    _delete_older(whole, kept.save_last_n, wanted)


def prune_by_age(run_dir: Path, save_last_n: int, never: Collection[Path]) -> None:
    """Delete the whole checkpoints before the last few, as `prune` does.

    Raises:
        OSError: one cannot be taken out of the way.
    """
    _delete_older(whole_checkpoints(run_dir, never), save_last_n, ())


def _delete_older(whole: Sequence[Checkpoint], save_last_n: int, wanted: Collection[Path]) -> None:
    for checkpoint in whole[:-save_last_n]:
        stays = checkpoint.is_stage_end or not checkpoint.consumed_tokens or checkpoint.path in wanted
        if not stays and not _others(checkpoint.path):
            doomed = checkpoint.path.with_name(f".{checkpoint.path.name}.deleted")
            checkpoint.path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _to_go_back_to(whole: Sequence[Checkpoint], every: int | None) -> Iterator[Checkpoint]:
    """Yield the first checkpoint at or behind each multiple of so many tokens.

    It is the first that is left there, too, since the first is never deleted.
    """
    reached = 0
    for checkpoint in whole:
        if every is not None and checkpoint.consumed_tokens // every > reached:
            reached = checkpoint.consumed_tokens // every
            yield checkpoint


def _others(folder: Path) -> bool:
    """Whether a checkpoint's folder has files beside its own."""
    return not {path for path in folder.rglob("*") if not path.is_dir()} <= {*made_in_checkpoint(folder)}
