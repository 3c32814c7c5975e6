"""The checkpoint that a run goes on from, found once for all of its processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from custom_modules.platform.rank_0 import on_rank_0
from custom_modules.run_folder.checkpoint_files import Checkpoint, find_newest, list_folders
from custom_modules.run_folder.run_config import CONFIG


def newest_checkpoint(run_dir: Path, say: Callable[[str], None]) -> tuple[Checkpoint | None, set[Path]]:
    """Return what rank 0 finds, on every rank, as hashing it once is enough; and the damaged ones behind it.

    Collective.

    Raises:
        UserError: as `find_newest`.
    """

    def find() -> tuple[Checkpoint | None, list[str], set[Path]]:
        checkpoint, problems = find_newest(run_dir)
        newer = [path for path in list_folders(run_dir) if checkpoint and path.name > checkpoint.path.name]
        return checkpoint, problems, set(newer)

    checkpoint, problems, damaged = on_rank_0(find)
    for problem in problems:
        say(f"skipped a checkpoint and left it in place: {problem}")
    if checkpoint is None and on_rank_0((run_dir / CONFIG).is_file):
        say("this run was started before and has published no checkpoint: it begins anew, at 0 tokens")
    return checkpoint, damaged
