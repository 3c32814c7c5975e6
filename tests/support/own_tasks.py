"""Own items as tasks of a run, which take no library to build."""

from __future__ import annotations

from pathlib import Path


def evaluate_on(*files: Path, every: int = 2048, limit: int | None = None) -> str:
    """Return the override of a run that is scored on such files."""
    names = ", ".join(map(str, files))
    return f"trainer.evaluate={{tasks: [{names}], every_n_tokens: {every}, limit: {limit or 'null'}, data: none}}"
