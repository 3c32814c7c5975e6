"""`danube compare`: whether one model is better than another on the same items, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from custom_modules.evaluation.noise import read_noise
from custom_modules.evaluation.pairing import PairedTask, read_pair
from custom_modules.evaluation.results import PAPER, Results
from custom_modules.evaluation.statistics import (
    Values,
    bootstrap,
    degrees_of_mean,
    holm,
    interval,
    least_told_apart,
    mcnemar,
    mcnemar_threshold,
    mean_standard_error,
    ratio_error,
    standard_error,
    two_sided,
)

LEVEL = 0.05
"""Of the tests, over a whole suite."""
COVERAGE = 0.95
SEED = 0


@dataclass(frozen=True)
class Difference:
    """What the second model has more of than the first."""

    first: float
    second: float
    value: float
    standard_error: float
    """Paired: of the items' differences."""
    p: float
    """Two-sided: McNemar's exact test where items are right or wrong and count alike, else Student's t."""
    corrected_p: float
    """By Holm, over the suite's tasks."""
    is_told_apart: bool
    threshold: float
    """Differences above it would be told apart from none, at this size and with as many items that differ."""
    floor: float | None
    """The difference of the highest and the lowest of several checkpoints of one run; None where none were given."""

    @property
    def is_within_floor(self) -> bool:
        """Whether checkpoints of one run differ as much."""
        return self.floor is not None and abs(self.value) <= self.floor


@dataclass(frozen=True)
class TaskComparison:
    """An entry of the suite."""

    task: str
    num_fewshot: int
    metric: str
    items: int
    accuracy: Difference
    """Of the metric, as a fraction."""
    unpaired_standard_error: float
    """Of the difference, if the items were not the same."""
    won: int
    """Items whose metric is higher in the second."""
    lost: int
    mcnemar: float | None
    """The exact test's p value over all items; None where they are not right or wrong."""
    interval: tuple[float, float]
    """Of the difference, by the paired bootstrap."""
    bits_per_byte: Difference | None
    """Of the right answers; None where the task has none."""


@dataclass(frozen=True)
class Comparison:
    """Two evaluations of the same items, and the checkpoints that say what a run's own noise is."""

    first: Results
    second: Results
    tasks: tuple[TaskComparison, ...]
    mean: Difference
    """The plain mean over the tasks."""
    mean_interval: tuple[float, float]
    noise: tuple[Results, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all figures, as fractions and bits."""
        names = ("model", "consumed_tokens", "weights", "dtype")
        plain = {
            "suite": self.first.suite,
            "protocol": self.first.protocol,
            "first": {name: getattr(self.first, name) for name in names},
            "second": {name: getattr(self.second, name) for name in names},
            "tasks": [asdict(task) for task in self.tasks],
            "mean": {**asdict(self.mean), "interval": self.mean_interval},
            "noise": [{name: getattr(found, name) for name in names} for found in self.noise],
        }
        return cast(dict[str, Any], _without_nan(plain))


def _without_nan(plain: Any) -> Any:
    """Put null where a figure is not known, since JSON has no NaN."""
    if isinstance(plain, dict):
        return {key: _without_nan(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_without_nan(value) for value in plain]
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def compare(first: Path, second: Path, noise: Sequence[Path] = ()) -> Comparison:
    """Compare the second of two evaluations with the first.

    Args:
        first, second: their folders.
        noise: evaluations of late checkpoints of one run.

    Raises:
        UserError: one cannot be read, is given twice, or is not of the same items as the first.
    """
    paired = read_pair(first, second)
    checkpoints = read_noise(first, paired.first, noise)
    accuracies = [
        _accuracy(task, paired.first.protocol == PAPER, (SEED, place)) for place, task in enumerate(paired.tasks)
    ]
    floors = [_spread([one.tasks[place].value for one in checkpoints]) for place in range(len(paired.tasks))]
    differences = _corrected([one.estimate for one in accuracies], floors)
    bits = _bits_per_byte(paired.tasks, checkpoints)
    tasks = tuple(
        TaskComparison(
            task=task.first.task,
            num_fewshot=task.first.num_fewshot,
            metric=task.first.metric,
            items=task.first.items,
            accuracy=difference,
            unpaired_standard_error=one.unpaired,
            won=one.won,
            lost=one.lost,
            mcnemar=mcnemar(one.won, one.lost) if one.is_right_or_wrong else None,
            interval=interval(one.draws, COVERAGE),
            bits_per_byte=bits.get(task.first.task),
        )
        for task, one, difference in zip(paired.tasks, accuracies, differences, strict=True)
    )
    mean = _mean([one.estimate for one in accuracies])
    floor = _spread([sum(task.value for task in one.tasks) / len(one.tasks) for one in checkpoints])
    draws = np.mean([one.draws for one in accuracies], axis=0)
    [whole] = _corrected([mean], [floor])
    return Comparison(paired.first, paired.second, tasks, whole, interval(draws, COVERAGE), checkpoints)


@dataclass(frozen=True)
class _Estimate:
    """A difference before its p value is corrected for their number."""

    first: float
    second: float
    error: float
    degrees: float
    """Of freedom of the error."""
    right_or_wrong: tuple[int, int, int] | None = None
    """Items won and lost, and all, where McNemar's exact test is of this very difference."""

    @property
    def value(self) -> float:
        return self.second - self.first

    @property
    def p(self) -> float:
        if self.right_or_wrong is None:
            return two_sided(self.value, self.error, self.degrees)
        won, lost, _ = self.right_or_wrong
        return mcnemar(won, lost)

    def threshold(self, level: float) -> float:
        if self.right_or_wrong is None:
            return least_told_apart(self.error, self.degrees, level)
        won, lost, items = self.right_or_wrong
        return (mcnemar_threshold(won + lost, level) - 1) / items


@dataclass(frozen=True)
class _Accuracy:
    """An entry's metric in both evaluations."""

    estimate: _Estimate
    unpaired: float
    won: int
    lost: int
    is_right_or_wrong: bool
    draws: Values


def _accuracy(task: PairedTask, leaves_alike: bool, seed: tuple[int, int]) -> _Accuracy:
    """Compare the metric.

    Args:
        leaves_alike: the leaves of a group count alike, and not by their items.
        seed: of the bootstrap; another one for each task, so that their mean's draws are independent.
    """
    leaves = list(task.leaves.values())
    differences = [second - first for first, second in leaves]
    every = np.concatenate(differences)
    weights = [1 / len(leaves) if leaves_alike else len(leaf) / len(every) for leaf in differences]
    won, lost = int((every > 0).sum()), int((every < 0).sum())
    is_right_or_wrong = all(np.isin(values, (0.0, 1.0)).all() for leaf in leaves for values in leaf)
    is_exact = is_right_or_wrong and (len(leaves) == 1 or not leaves_alike)
    first, second = ([leaf[side] for leaf in leaves] for side in (0, 1))
    estimate = _Estimate(
        first=_weighted_mean(first, weights),
        second=_weighted_mean(second, weights),
        error=_weighted_error(differences, weights),
        degrees=len(every) - len(leaves),
        right_or_wrong=(won, lost, len(every)) if is_exact else None,
    )
    return _Accuracy(
        estimate=estimate,
        unpaired=math.hypot(_weighted_error(first, weights), _weighted_error(second, weights)),
        won=won,
        lost=lost,
        is_right_or_wrong=is_right_or_wrong,
        draws=bootstrap(differences, weights, seed),
    )


def _weighted_mean(leaves: Sequence[Values], weights: Sequence[float]) -> float:
    return sum(weight * float(values.mean()) for weight, values in zip(weights, leaves, strict=True))


def _weighted_error(leaves: Sequence[Values], weights: Sequence[float]) -> float:
    return math.hypot(*(weight * standard_error(values) for weight, values in zip(weights, leaves, strict=True)))


def _bits_per_byte(tasks: Sequence[PairedTask], checkpoints: Sequence[Results]) -> dict[str, Difference]:
    """Compare the right answers' bits per byte, by task; only of tasks that have them."""
    estimates, floors = {}, []
    for place, task in enumerate(tasks):
        first, second = task.bits
        total = float(task.right_bytes.sum())
        if total:
            error = ratio_error(second - first, task.right_bytes)
            means = float(first.sum()) / total, float(second.sum()) / total
            estimates[task.first.task] = _Estimate(*means, error, len(first) - 1)
            floors.append(_spread([one.tasks[place].bits_per_byte for one in checkpoints]))
    return dict(zip(estimates, _corrected(list(estimates.values()), floors), strict=True))


def _mean(tasks: Sequence[_Estimate]) -> _Estimate:
    errors = [one.error for one in tasks]
    return _Estimate(
        first=sum(one.first for one in tasks) / len(tasks),
        second=sum(one.second for one in tasks) / len(tasks),
        error=mean_standard_error(errors),
        degrees=degrees_of_mean(errors, [one.degrees for one in tasks]),
    )


def _corrected(estimates: Sequence[_Estimate], floors: Sequence[float | None]) -> list[Difference]:
    """Correct differences for their number.

    Args:
        floors: of each.
    """
    p_values = [one.p for one in estimates]
    corrected = holm(p_values)
    # What is not told apart would be if its own p value were at most this.
    level = LEVEL / max(1, sum(p > LEVEL for p in corrected))
    return [
        Difference(
            first=one.first,
            second=one.second,
            value=one.value,
            standard_error=one.error,
            p=p,
            corrected_p=p_of_all,
            is_told_apart=p_of_all <= LEVEL,
            threshold=one.threshold(level),
            floor=floor,
        )
        for one, p, p_of_all, floor in zip(estimates, p_values, corrected, floors, strict=True)
    ]


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) - min(known) if known else None
