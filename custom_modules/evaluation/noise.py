"""Evaluations of late checkpoints of one run, whose spread is the floor of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.evaluation.pairing import check_different, check_same_tasks
from custom_modules.evaluation.results import EVALUATION, Results, read_results
from custom_modules.run_folder.metadata import METADATA


def read_noise(first: Path, expected: Results, given: Sequence[Path]) -> tuple[Results, ...]:
    """Read the evaluations of several checkpoints.

    Args:
        first: the evaluation that they have to be of the same items as.
        expected: its results.
        given: folders of evaluations, or of checkpoints of a run that has them; none, or two or more.

    Raises:
        UserError: there is but one, one is there twice or cannot be read, or it is of other items.
    """
    if len(given) == 1:
        raise UserError(f"--noise {given[0]}: one checkpoint has no spread; give two or more of one run")
    folders = [_evaluation_of(path, expected.suite) for path in given]
    check_different(folders)
    found: list[Results] = []
    for folder in folders:
        results = read_results(folder)
        check_same_tasks((first, folder), (expected, results))
        for task, asked in zip(results.tasks, expected.tasks, strict=True):
            if task.prompt_hash != asked.prompt_hash:
                raise UserError(
                    f"--noise {folder}: other prompts for {task.task} than {first} has; evaluate it likewise"
                )
        same = next((other for other in found if other.weights == results.weights), None)
        if same is not None:
            raise UserError(f"--noise {folder}: the weights of {same.model} again; give other checkpoints")
        found.append(results)
    return tuple(found)


def _evaluation_of(path: Path, suite: str) -> Path:
    """Return the folder of an evaluation: the one that is given, or that of a run's checkpoint."""
    if not (path / METADATA).is_file():
        return path
    return path.resolve().parents[1] / EVALUATION / path.name / suite
