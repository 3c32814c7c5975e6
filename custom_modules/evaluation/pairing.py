"""Two evaluations of the same items, side by side; anything else is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custom_modules.errors import UserError
from custom_modules.evaluation.results import RESULTS, SAMPLES, Results, Sample, TaskResult, read_results, read_samples
from custom_modules.evaluation.statistics import Values

_SAME = "evaluate it with the suite, protocol, data, --limit and --chat-template of"


@dataclass(frozen=True)
class PairedTask:
    """An entry of the suite, for both models."""

    first: TaskResult
    second: TaskResult
    leaves: Mapping[str, tuple[Values, Values]]
    """The metric by item, float64 ``[items]``, of both models by leaf."""
    bits: tuple[Values, Values]
    """Of the right answers, float64 ``[items]``: of items that have one."""
    right_bytes: Values
    """Of these answers."""


@dataclass(frozen=True)
class Paired:
    """Two evaluations."""

    first: Results
    second: Results
    tasks: tuple[PairedTask, ...]


def read_pair(first: Path, second: Path) -> Paired:
    """Read two evaluations that asked the same.

    Raises:
        UserError: one cannot be read, both are one, or they are not of the same items.
    """
    check_different([first, second])
    results = read_results(first), read_results(second)
    check_same_tasks((first, second), results)
    samples = [_by_task(folder, found) for folder, found in zip((first, second), results, strict=True)]
    tasks = tuple(
        _paired(first, second, one, other, samples[0][one.task], samples[1][one.task])
        for one, other in zip(results[0].tasks, results[1].tasks, strict=True)
    )
    return Paired(*results, tasks)


def check_different(folders: Sequence[Path]) -> None:
    """Make sure that no folder is given twice.

    Raises:
        UserError: one is.
    """
    seen: dict[Path, Path] = {}
    for folder in folders:
        before = seen.setdefault(folder.resolve(), folder)
        if before is not folder:
            raise UserError(f"{folder}: the same evaluation as {before}; give two different ones")


def check_same_tasks(folders: tuple[Path, Path], results: tuple[Results, Results]) -> None:
    """Make sure that two evaluations have the same tasks, at the same sizes.

    Raises:
        UserError: they have not; the first difference is named.
    """
    for name in ("suite", "protocol"):
        values = [getattr(found, name) for found in results]
        if values[0] != values[1]:
            raise _refused(folders, f"{name} {values[1]}, not {values[0]}")
    entries = [[(task.task, task.num_fewshot, task.metric) for task in found.tasks] for found in results]
    if entries[0] != entries[1]:
        words = [", ".join(f"{task} {shots}-shot {metric}" for task, shots, metric in found) for found in entries]
        raise _refused(folders, f"{words[1]}, not {words[0]}")
    for one, other in zip(*(found.tasks for found in results), strict=True):
        if one.items != other.items:
            raise _refused(folders, f"{other.items:,} items of {one.task}, not {one.items:,}")


def _by_task(folder: Path, results: Results) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {task.task: [] for task in results.tasks}
    for sample in read_samples(folder):
        found.setdefault(sample.group, []).append(sample)
    for task in results.tasks:
        there = len(found[task.task])
        if there != task.items:
            where = f"{folder / SAMPLES}: {there:,} items of {task.task}"
            raise UserError(f"{where}, but {RESULTS} has {task.items:,}; evaluate again")
    return found


def _paired(
    first: Path, second: Path, one: TaskResult, other: TaskResult, samples: Sequence[Sample], others: Sequence[Sample]
) -> PairedTask:
    for sample, opposite in zip(samples, others, strict=True):
        if (sample.task, sample.number) != (opposite.task, opposite.number):
            place = f"{opposite.task} document {opposite.number}"
            raise _refused((first, second), f"{place} in the place of {sample.task} document {sample.number}")
        if sample.prompt_hash != opposite.prompt_hash:
            raise _refused((first, second), f"another prompt for {sample.task} document {sample.number}")
    pairs = list(zip(samples, others, strict=True))
    right = [pair for pair in pairs if all(sample.bits is not None and sample.right_bytes for sample in pair)]
    return PairedTask(
        one,
        other,
        dict(_leaves(first, one.metric, pairs)),
        (_values(sample.bits for sample, _ in right), _values(opposite.bits for _, opposite in right)),
        _values(sample.right_bytes for sample, _ in right),
    )


def _leaves(
    folder: Path, metric: str, pairs: Sequence[tuple[Sample, Sample]]
) -> Iterator[tuple[str, tuple[Values, Values]]]:
    by_leaf: dict[str, list[tuple[Sample, Sample]]] = defaultdict(list)
    for pair in pairs:
        by_leaf[pair[0].task].append(pair)
    for leaf, found in by_leaf.items():
        if not all(metric in sample.metrics for pair in found for sample in pair):
            raise UserError(f"{folder / SAMPLES}: an item of {leaf} without {metric}; evaluate again")
        yield leaf, (_values(one.metrics[metric] for one, _ in found), _values(two.metrics[metric] for _, two in found))


def _values(found: Iterable[float | None]) -> Values:
    return np.array(list(found), dtype=np.float64)


def _refused(folders: tuple[Path, Path], found: str) -> UserError:
    return UserError(f"{folders[1]}: {found}; {_SAME} {folders[0]}")
