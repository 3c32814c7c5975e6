"""A task's figures from its items': means, standard errors and bits per byte, of a group as its protocol has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from custom_modules.tasks.items import Grade
from custom_modules.tasks.suite import ProtocolName

_LARGEST_ERROR = 0.5
"""Of one item, whose metric is from 0 to 1: there is no spread to take an error from."""


@dataclass(frozen=True)
class Summary:
    """The figures of a task, or of a group of leaves."""

    items: int
    value: float
    """Of the metric that was asked for, as a fraction."""
    standard_error: float
    metrics: Mapping[str, float]
    """All that the items have, averaged likewise."""
    bits_per_byte: float | None
    """The right answers' bits over their bytes; None where there are none."""
    ties: int
    leaves: Mapping[str, float]
    """Each leaf's value; of a single one nothing."""


def summarise_grades(grades: Mapping[str, Sequence[Grade]], metric: str, protocol: ProtocolName) -> Summary:
    """Sum up the items of a task.

    A group is the plain mean of its leaves under ``paper`` (the leaderboard's MMLU, of 57 subjects), and weighted by
    their sizes under ``current``. Its standard error takes the leaves for given and their items for drawn.

    Args:
        grades: each leaf's, by its name; at least one of each.
        metric: one that all items have.
    """
    sizes = {leaf: len(found) for leaf, found in grades.items()}
    whole = sum(sizes.values())
    weights = {leaf: 1 / len(sizes) if protocol == "paper" else size / whole for leaf, size in sizes.items()}
    every = [grade for found in grades.values() for grade in found]
    means = {
        name: {leaf: math.fsum(grade.metrics[name] for grade in found) / len(found) for leaf, found in grades.items()}
        for name in every[0].metrics
    }
    errors = {leaf: _standard_error([grade.metrics[metric] for grade in found]) for leaf, found in grades.items()}
    metrics = {name: math.fsum(weights[leaf] * mean for leaf, mean in of.items()) for name, of in means.items()}
    return Summary(
        items=whole,
        value=metrics[metric],
        standard_error=math.sqrt(math.fsum((weights[leaf] * error) ** 2 for leaf, error in errors.items())),
        metrics=metrics,
        bits_per_byte=_bits_per_byte(every),
        ties=sum(grade.is_tie for grade in every),
        leaves=means[metric] if len(grades) > 1 else {},
    )


def _standard_error(values: Sequence[float]) -> float:
    """Return the standard error of a mean: the sample's deviation over the root of its size."""
    if len(values) < 2:
        return _LARGEST_ERROR
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def _bits_per_byte(grades: Sequence[Grade]) -> float | None:
    pairs = [(grade.bits, grade.right_bytes) for grade in grades if grade.bits is not None and grade.right_bytes]
    return math.fsum(bits for bits, _ in pairs) / sum(size for _, size in pairs) if pairs else None
