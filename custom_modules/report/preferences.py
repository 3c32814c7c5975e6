"""The figure and the tables of a run on pairs of answers (Danube's report, section 6.2)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from custom_modules.report.figure import INK, SOFTWARE, STYLE, TRAIN, VALIDATION, draw_learning_rate, draw_tokens_axis
from custom_modules.run_folder.history import History
from custom_modules.run_folder.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER = ("pairs", "loss", "accuracy", "margin", "reward, chosen", "reward, rejected")
_PANELS = (
    ("", "Loss", "nats a pair"),
    ("accuracy", "Accuracy", "share of pairs"),
    ("margin", "Margin", "reward, chosen less rejected"),
)
"""What is drawn, its heading and its unit."""


def is_of_preferences(history: History) -> bool:
    """Tell whether a run was one on pairs of answers."""
    return any(point.preferences is not None for point in history.train)


def draw_preferences(history: History, name: str) -> bytes:
    """Loss, accuracy and margin, of training and held-out pairs, and the learning rate, as a PNG.

    Args:
        history: a run so far, on pairs.
        name: the run's, for the heading.
    """
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, hspace=0.04, wspace=0.03)
        figure = Figure(figsize=(12.6, 7.6), layout=layout, facecolor="white")
        (loss, accuracy), (margin, rate) = figure.subplots(2, 2)
        for axes, (measure, title, unit) in zip((loss, accuracy, margin), _PANELS, strict=True):
            axes.set_title(title)
            axes.set_ylabel(unit)
            _draw_curve(axes, history.train, measure, TRAIN, "training")
            _draw_curve(axes, history.validation, measure, VALIDATION, "held out")
            axes.legend(frameon=False, fontsize=9.5)
        accuracy.set_ylim(-0.02, 1.02)
        draw_learning_rate(rate, history.train)
        for axes in (loss, accuracy, margin, rate):
            draw_tokens_axis(axes, history.end_tokens)
        figure.suptitle(name, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=150, metadata={"Software": SOFTWARE})
    return png.getvalue()


def preference_rows(history: History) -> list[tuple[str, ...]]:
    """Return the rows of a table: the training at its beginning and end, and each evaluation of held-out pairs."""
    named: list[tuple[str, Metrics]] = [("first steps", history.train[0]), ("last steps", history.train[-1])]
    named += [(f"held out, step {point.step:,}", point) for point in history.validation]
    return [HEADER, *(_row(name, point) for name, point in named if point.preferences)]


def _row(name: str, point: Metrics) -> tuple[str, ...]:
    found = point.preferences or {}
    measures = ("accuracy", "margin", "reward_chosen", "reward_rejected")
    return name, f"{point.loss:.4f}", *(f"{found[measure]:.4f}" for measure in measures)


def _draw_curve(axes: Axes, points: Sequence[Metrics], measure: str, color: str, label: str) -> None:
    """Draw one curve.

    Args:
        measure: of `custom_modules.run_folder.metrics.PREFERENCES`; empty for the loss.
    """
    values = [(point.preferences or {}).get(measure) if measure else point.loss for point in points]
    known = [(point.tokens, value) for point, value in zip(points, values, strict=True) if value is not None]
    few = len(known) <= 60
    axes.plot(
        [tokens for tokens, _ in known],
        [value for _, value in known],
        color=color,
        linewidth=1.8 if few else 1.2,
        marker="o" if few else None,
        markersize=4,
        label=label,
    )
