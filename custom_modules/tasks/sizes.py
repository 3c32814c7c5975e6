"""What a task reads of the known data sets, without the library. Needs neither torch nor numpy."""

from __future__ import annotations

from pathlib import Path

from custom_modules.config.evaluate import EvaluateConfig
from custom_modules.errors import UserError
from custom_modules.tasks.data_folder import DataFolder
from custom_modules.tasks.datasets import DATA_SETS


def data_sets_of(task: str) -> list[str]:
    """Return the known sets of a task, those of all leaves for a group, by our names; none of a task of other data."""
    of_group = [name for name in DATA_SETS if name == task or name.startswith(f"{task}_")]
    return of_group or [name for name in DATA_SETS if task.startswith(f"{name}_")]


def documents_of(task: str, limit: int | None) -> int | None:
    """Return how many documents of a task are scored, at most; None where that is not known.

    Args:
        limit: of each leaf of a group.
    """
    sizes = [DATA_SETS[name].documents[DATA_SETS[name].evaluated] for name in data_sets_of(task)]
    return sum(min(size, limit or size) for size in sizes) if sizes else limit


def require_data(options: EvaluateConfig) -> None:
    """Raises UserError if a task's data is not where ``trainer.evaluate`` reads it. Reads none of it."""
    there = DataFolder(Path(options.data)).names()
    for task in options.tasks:
        if missing := [name for name in data_sets_of(task) if name not in there]:
            raise UserError(
                f"trainer.evaluate.data={options.data}: has no {missing[0]}, which {task} reads; where there is "
                f"internet: danube evaluate --fetch {options.data} --suite all; or set trainer.evaluate=null"
            )
