"""What in a run's folder is the run's, so that nobody else's file is written over or cleared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import PARTIAL
from custom_modules.folder_lock import LOCKS
from custom_modules.made import listed, read_note, write_note
from custom_modules.run_folder.abandoned import ABANDONED_METRICS
from custom_modules.run_folder.checkpoint_files import checkpoints_dir, list_folders
from custom_modules.run_folder.metadata import METADATA, read_metadata
from custom_modules.run_folder.metrics import METRICS, TENSORBOARD
from custom_modules.run_folder.rollbacks import ROLLBACKS
from custom_modules.run_folder.run_config import CONFIG
from custom_modules.run_folder.starts import STARTS, read_starts

INDEX_CACHE = "index_cache"
EVALUATIONS = "evaluations.jsonl"
"""Which suites were run on which checkpoints."""
_FILES = (CONFIG, METRICS, STARTS, ROLLBACKS, EVALUATIONS)
_FOLDERS = ("checkpoints", INDEX_CACHE, TENSORBOARD)
_INDEX_FILE = re.compile(r"[0-9a-f]{32}-(GPT|Blended)Dataset-|(order_\d+\.npy|validation\.npz|index_files\.json)$")


def claim_run_folder(run_dir: Path) -> None:
    """Take a folder for a run: a new one, a run's, or one that has nothing in the places that a run writes to.

    Raises:
        UserError: something lies there that no run made.
    """
    if not is_run(run_dir):
        foreign = [run_dir / name for name in (*_FILES, *_FOLDERS) if os.path.lexists(run_dir / name)]
        if foreign:
            raise UserError(
                f"exp_manager.name: {listed(foreign)} is in the way: no run made it, and this one would write there; "
                "use another exp_manager.exp_dir or name, or move it away"
            )
    if read_note(run_dir) is None:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_note(run_dir, {})


def is_run(run_dir: Path) -> bool:
    """Tell whether a folder is a run's; one that a conversion or a version before 0.2 began has no note."""
    if read_note(run_dir) == {}:
        return True
    if read_starts(run_dir) or any(made_in_checkpoint(path) for path in list_folders(run_dir)):
        return True
    try:
        begins = (run_dir / CONFIG).read_text()[:1_000_000]
    except (OSError, ValueError):
        return False
    return all(re.search(rf"^{section}:", begins, re.MULTILINE) for section in ("exp_manager", "curriculum", "model"))


def made_in_run(run_dir: Path) -> Iterator[Path]:
    """Give the files of a run's folder that the run made, its report apart."""
    yield from (run_dir / name for name in (*_FILES, *LOCKS))
    yield from (path for path in run_dir.glob("*.jsonl") if ABANDONED_METRICS.fullmatch(path.name))
    for folder in sorted(checkpoints_dir(run_dir).glob("*")):
        if folder.name.endswith((PARTIAL, ".deleted")) and folder.name.startswith(".tokens_"):
            yield from folder.rglob("*")
        else:
            yield from made_in_checkpoint(folder)
    yield from (path for path in (run_dir / INDEX_CACHE).rglob("*") if _INDEX_FILE.match(path.name))
    yield from (run_dir / TENSORBOARD).glob("events.out.tfevents.*")


def made_in_checkpoint(folder: Path) -> list[Path]:
    """Return the files of a checkpoint that its metadata names, and the metadata; none where that cannot be read."""
    try:
        named = read_metadata(folder)["files"]
    except (UserError, KeyError):
        return []
    return [*(folder / name for name in named), folder / METADATA]
