"""Where a run stands once a process of it has ended as it should not."""

from __future__ import annotations

from pathlib import Path

from custom_modules.run_folder.checkpoint_files import list_folders


def where_it_stands(run_dir: Path) -> str:
    """Say from where the same command goes on."""
    last = list_folders(run_dir)
    if not last:
        return f"{run_dir} has no checkpoint yet, and the same command begins anew"
    return f"the last checkpoint is {last[-1]}, and the same command goes on from there"
