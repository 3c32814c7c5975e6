"""Figure 1 of Danube's paper: losses, learning rate and sequence length against tokens trained.

Below these are the tasks of ``trainer.evaluate``, where a run has any.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from custom_modules.report.tasks import draw_tasks
from custom_modules.run_folder.history import History, StageHistory
from custom_modules.run_folder.metrics import Metrics, TrainMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT, _DPI = 12.6, 7.6, 150
INK, _MUTED, _GRID = "#1f2933", "#616e7c", "#e4e7eb"
_SHADES = ("#f5f7fa", "#ffffff")
TRAIN, VALIDATION, RATE, _LENGTH = "#2563a8", "#c2571a", "#3a7d44", "#7b4397"
_ABANDONED = "#b0b7bf"
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 24,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "text.color": INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}
SOFTWARE = "danube report"
"""Stands in the file: a figure of ours is known by it."""
_SMALL = 8.5
_SETTLED = 0.05
"""The share of the tokens after which the loss has left its first fall."""


def draw_figure(history: History, name: str) -> bytes:
    """The four panels as a PNG, or six where tasks were scored.

    Args:
        history: a run so far.
        name: the run's, for the heading.
    """
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, hspace=0.04, wspace=0.03)
        rows = 3 if history.evaluations else 2
        figure = Figure(figsize=(_WIDTH, _HEIGHT * rows / 2), layout=layout, facecolor="white")
        (train, validation), (rate, length), *tasks = figure.subplots(rows, 2)
        _draw_loss(train, "Training loss", history.train, TRAIN)
        _draw_objective(train, history.train)
        _draw_loss(validation, "Validation loss", history.validation, VALIDATION)
        draw_learning_rate(rate, history.train)
        _draw_lengths(length, history.stages)
        _draw_abandoned(train, [stretch.train for stretch in history.abandoned])
        _draw_abandoned(validation, [stretch.validation for stretch in history.abandoned])
        for accuracy, bits in tasks:
            draw_tasks(accuracy, bits, history.evaluations)
        for axes in (train, validation, rate, length, *chain.from_iterable(tasks)):
            draw_tokens_axis(axes, history.end_tokens)
            _draw_stages(axes, history)
        figure.suptitle(name, x=0.01, ha="left", fontsize=15, fontweight="bold", color=INK)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": SOFTWARE})
    return png.getvalue()


def token_unit(tokens: int) -> tuple[int, str]:
    """The factor and name of the unit in which a count of tokens reads best."""
    for factor, unit in ((10**9, "billions"), (10**6, "millions"), (10**3, "thousands")):
        if tokens >= factor:
            return factor, unit
    return 1, ""


def loss_limits(points: Sequence[Metrics]) -> tuple[float, float] | None:
    """The range of losses to show, or None for all of it.

    A run's first losses are so high that the rest would look flat. Where they would take more than half of the panel,
    the curve comes in through its top.
    """
    losses = [point.loss for point in points if math.isfinite(point.loss)]
    settled = [p.loss for p in points if p.tokens >= _SETTLED * points[-1].tokens and math.isfinite(p.loss)]
    if len(settled) < 10:
        return None
    lowest, highest = min(losses), max(settled)
    height = highest - lowest
    if height <= 0 or max(losses) - lowest < 2 * height:
        return None
    return lowest - 0.06 * height, highest + 0.1 * height


def _draw_loss(axes: Axes, title: str, points: Sequence[Metrics], color: str) -> None:
    axes.set_title(title)
    axes.set_ylabel("cross-entropy, nats/token")
    if not points:
        axes.text(0.5, 0.5, "none yet", transform=axes.transAxes, ha="center", va="center", color=_MUTED)
        axes.set_yticks([])
        return
    few = len(points) <= 60
    axes.plot(
        [point.tokens for point in points],
        [point.loss for point in points],
        color=color,
        linewidth=1.8 if few else 1.2,
        marker="o" if few else None,
        markersize=3.5 if len(points) > 20 else 5,
    )
    axes.margins(y=0.08)
    limits = loss_limits(points)
    if limits:
        axes.set_ylim(*limits)
        axes.annotate(
            f"from {points[0].loss:.2f}",
            xy=(0.015, 0.985),
            xycoords="axes fraction",
            xytext=(16, -4),
            textcoords="offset points",
            va="top",
            fontsize=9.5,
            color=_MUTED,
            arrowprops={"arrowstyle": "->", "color": _MUTED, "shrinkA": 1, "shrinkB": 0},
        )
    last = points[-1]
    if math.isfinite(last.loss):
        axes.annotate(
            f"{last.loss:.3f}",
            xy=(last.tokens, last.loss),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=color,
        )


def _draw_abandoned(axes: Axes, stretches: Sequence[Sequence[Metrics]]) -> None:
    """Draw what the run went back from, behind its own curve, which keeps at least half of the panel's height."""
    low, high = axes.get_ylim()
    highest = max((point.loss for points in stretches for point in points if math.isfinite(point.loss)), default=None)
    for points in stretches:
        few = len(points) <= 60
        axes.plot(
            [point.tokens for point in points],
            [point.loss for point in points],
            color=_ABANDONED,
            linewidth=1.2,
            marker="x" if few else None,
            markersize=3.5,
            zorder=1.5,
        )
    if highest is not None:
        axes.set_ylim(low, max(high, min(highest, 2 * high - low)))


def _draw_objective(axes: Axes, points: Sequence[TrainMetrics]) -> None:
    """The objective of distilled steps, as points beside the loss, which is the ground truth's."""
    found = [(point.tokens, point.objective) for point in points if point.objective is not None]
    if found:
        tokens, objectives = zip(*found, strict=True)
        axes.plot(tokens, objectives, ".", color=_MUTED, markersize=4, label="objective of distilled steps", zorder=1)
        axes.legend(loc="upper right", frameon=False, fontsize=9.5)


def draw_learning_rate(axes: Axes, points: Sequence[TrainMetrics]) -> None:
    """Draw the panel of the learning rate."""
    from matplotlib.ticker import ScalarFormatter

    axes.set_title("Learning rate")
    rated = [(point.tokens, point.learning_rate) for point in points if point.learning_rate is not None]
    axes.plot(
        [tokens for tokens, _ in rated],
        [rate for _, rate in rated],
        color=RATE,
        linewidth=1.8,
        marker="o" if len(rated) <= 20 else None,
        markersize=5,
    )
    formatter = ScalarFormatter(useMathText=True)
    formatter.set_powerlimits((0, 0))
    axes.yaxis.set_major_formatter(formatter)
    axes.yaxis.get_offset_text().set_x(-0.11)  # a first stage that is short has its name at the axis
    axes.set_ylim(0, 1.08 * max((rate for _, rate in rated), default=1.0) or 1.0)


def _draw_lengths(axes: Axes, stages: Sequence[StageHistory]) -> None:
    from matplotlib.ticker import NullLocator

    axes.set_title("Sequence length")
    axes.set_ylabel("tokens (log scale)")
    edges = [stages[0].start_tokens, *(stage.end_tokens for stage in stages)]
    lengths = [stage.seq_length for stage in stages]
    axes.stairs(lengths, edges, baseline=None, color=_LENGTH, linewidth=2.2)
    axes.set_yscale("log", base=2)
    axes.set_yticks(sorted(set(lengths)), [f"{length:,}" for length in sorted(set(lengths))])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(min(lengths) / 1.6, max(lengths) * 1.6)


def draw_tokens_axis(axes: Axes, end_tokens: int) -> None:
    """Draw the axis that all panels have: tokens trained."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    factor, unit = token_unit(end_tokens)
    axes.set_xlim(0, end_tokens)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens / factor:,.4g}"))
    axes.set_xlabel(f"tokens trained, {unit}" if unit else "tokens trained")
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)


def _draw_stages(axes: Axes, history: History) -> None:
    panel_points = 0.38 * _WIDTH * 72
    for index, stage in enumerate(history.stages):
        axes.axvspan(stage.start_tokens, stage.end_tokens, color=_SHADES[index % 2], zorder=-2, linewidth=0)
        if index:
            axes.axvline(stage.start_tokens, color=_MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
        width = panel_points * (stage.end_tokens - stage.start_tokens) / history.end_tokens
        fits = width > 0.65 * _SMALL * len(stage.name)
        axes.text(
            (stage.start_tokens + stage.end_tokens) / 2,
            1.02,
            stage.name if fits else str(index + 1),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=_SMALL,
            color=_MUTED,
        )
