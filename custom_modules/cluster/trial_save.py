"""A small checkpoint, saved in the run's own folder as a run saves, read back as one that resumes, and removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.cluster.checked_run import CheckedRun
from custom_modules.errors import UserError, passes
from custom_modules.files import folder_digest
from custom_modules.platform import Platform, from_rank_0
from custom_modules.run_folder.checkpoint_files import cause_of, checkpoints_dir, folder_name, open_checkpoint
from custom_modules.run_folder.progress import Progress

NUMBERS = 4_096
"""Of each process in the small checkpoint."""


@dataclass(frozen=True)
class Failure:
    """What went wrong first."""

    rank: int
    reason: str
    passes: bool
    """Whether a disk or a file server failed that may be well again."""


def try_save(run: CheckedRun, platform: Platform, name: str) -> tuple[float, Failure | None]:
    """Save, read back and remove a checkpoint to which every process gives a part. Collective.

    Args:
        platform: connected.
        name: of a folder beside the checkpoints that nobody else writes to.

    Returns:
        The seconds that it took and what went wrong, the same on every process.
    """
    begun = time.monotonic()
    folder = checkpoints_dir(run.config.run_dir) / name
    target = folder / folder_name(0)
    is_main = platform.world.rank == 0
    missing = [parent for parent in folder.parents if not parent.exists()] if is_main else []
    steps: list[Callable[[], None]] = [
        run.import_training,
        lambda: _make(run, folder) if is_main else None,
        lambda: _save(run, platform, target),
        lambda: _read_back(platform, target),
    ]
    failure: Failure | None = None
    with ExitStack() as stack:
        if is_main:
            stack.callback(_remove, folder, missing)
        for step in steps:
            # What one process meets alone the others have to know, before they wait for it.
            failure = failure or _first_failure(platform, step)
    return from_rank_0(time.monotonic() - begun), failure


def _first_failure(platform: Platform, step: Callable[[], None]) -> Failure | None:
    import torch

    mine: Failure | None = None
    try:
        step()
    except Exception as error:
        cause = cause_of(error)
        reason = " ".join(str(cause).split()) or type(cause).__name__
        mine = Failure(platform.world.rank, reason, passes(error))
    every: list[Failure | None] = [None] * platform.world.size
    torch.distributed.all_gather_object(every, mine)
    return next((failure for failure in every if failure), None)


def _make(run: CheckedRun, folder: Path) -> None:
    """Make the folder, and read the tokenizer that goes into every checkpoint."""
    folder.mkdir(parents=True)
    folder_digest(run.tokenizer()[0])


def _save(run: CheckedRun, platform: Platform, target: Path) -> None:
    from custom_modules.training.checkpoint import write_checkpoint

    tokenizer, digest = run.tokenizer()
    state = _state(platform.world.rank, platform.world.size)
    write_checkpoint(target, state, run.config, tokenizer, digest, Progress(), {})


def _read_back(platform: Platform, target: Path) -> None:
    """Read the part of another process, where there is one."""
    import torch
    from megatron.core import dist_checkpointing

    other = (platform.world.rank + 1) % platform.world.size
    written, wanted = _state(other, platform.world.size), _state(other, platform.world.size)
    wanted["numbers"].data.zero_()
    read = dist_checkpointing.load(wanted, str(open_checkpoint(target).dist))
    if not torch.equal(read["numbers"], written["numbers"].data) or read["said"] != written["said"].data:
        raise UserError(f"{target}: has other numbers than were written to it")


def _state(rank: int, size: int) -> dict[str, Any]:
    """Return a process's part: a tensor that all have a share in, and an object of its own."""
    import torch
    from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensor

    numbers = torch.arange(NUMBERS, dtype=torch.float32) + rank
    return {
        "numbers": ShardedTensor.from_rank_offsets("numbers", numbers, (0, rank, size)),
        "said": ShardedObject("said", {"rank": rank}, (size,), (rank,)),
    }


def _remove(folder: Path, missing: list[Path]) -> None:
    """Remove the folder, and those above it that were not there before and have nothing else in them."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        for parent in missing:
            parent.rmdir()
