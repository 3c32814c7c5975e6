"""The tasks that a run was scored on while it trained: two panels of its figure, and a table of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from custom_modules.run_folder.metrics import EvaluationMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER = ("task", "first accuracy", "last", "first bits a byte", "last", "least", "at tokens")
_COLORS = ("#2563a8", "#c2571a", "#3a7d44", "#7b4397", "#b8433f", "#3aa6a6", "#8c6d46", "#d073a6")
_IN_A_COLUMN = 6
"""Names of a legend that stand below each other."""


def draw_tasks(accuracy: Axes, bits: Axes, points: Sequence[EvaluationMetrics]) -> None:
    """Draw a curve for each task: its accuracy in one panel, its right answers' bits per byte in the other."""
    accuracy.set_title("Accuracy of tasks, without examples")
    accuracy.set_ylabel("share of items")
    _draw(accuracy, points, lambda point: point.accuracy)
    bits.set_title("Right answers")
    bits.set_ylabel("bits per byte")
    _draw(bits, points, lambda point: point.bits_per_byte)


def task_rows(points: Sequence[EvaluationMetrics]) -> list[tuple[str, ...]]:
    """Return a table, its header first: each task at the first and the last scoring that has it, and where its right
    answers took least; empty where nothing was scored."""
    rows = [_row(name, [point for point in points if name in point.accuracy]) for name in _names(points)]
    return [HEADER, *rows] if rows else []


def _row(name: str, points: Sequence[EvaluationMetrics]) -> tuple[str, ...]:
    accuracy = tuple(f"{point.accuracy[name]:.1%}" for point in (points[0], points[-1]))
    scored = [point for point in points if name in point.bits_per_byte]
    if not scored:
        return name, *accuracy, "none", "none", "none", ""
    least = min(scored, key=lambda point: point.bits_per_byte[name])
    bits = tuple(f"{point.bits_per_byte[name]:.4f}" for point in (scored[0], scored[-1], least))
    return name, *accuracy, *bits, f"{least.tokens:,}"


def _names(points: Sequence[EvaluationMetrics]) -> list[str]:
    return list(dict.fromkeys(name for point in points for name in point.accuracy))


def _draw(
    axes: Axes, points: Sequence[EvaluationMetrics], values: Callable[[EvaluationMetrics], Mapping[str, float]]
) -> None:
    names = _names(points)
    for name, color in zip(names, cycle(_COLORS), strict=False):
        found = [(point.tokens, values(point)[name]) for point in points if name in values(point)]
        axes.plot(
            [tokens for tokens, _ in found],
            [value for _, value in found],
            color=color,
            linewidth=1.6,
            marker="o" if len(found) <= 60 else None,
            markersize=4,
            label=name,
        )
    axes.margins(y=0.08)
    axes.legend(frameon=False, fontsize=9.5, ncols=-(-len(names) // _IN_A_COLUMN))
