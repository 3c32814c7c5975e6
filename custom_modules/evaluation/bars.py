"""A suite as bars, this model beside those of the reports' tables (LokiLM, Figure 1)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from custom_modules.evaluation.figures import Figure, figure_of, figures_of
from custom_modules.evaluation.published import PublishedTable, tables_of
from custom_modules.evaluation.results import Results
from custom_modules.evaluation.table import name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = "figure.png"
_OWN, _OURS, _INK, _GRID = "#c2571a", "#2563a8", "#1f2933", "#e4e7eb"
_STYLE: dict[Any, Any] = {"font.size": 10, "text.color": _INK, "axes.spines.right": False, "axes.spines.top": False}
_WIDTH, _PANEL_HEIGHT, _DPI = 12.6, 4.2, 150
_OF_A_GROUP = 0.84
"""The share of a group's width that bars take."""


def draw_bars(results: Results) -> bytes:
    """Draw a panel for each table that the suite is of, with standard errors on this model's bars, as a PNG.

    A user's own suite has one panel, of this model alone.
    """
    from matplotlib import style
    from matplotlib.figure import Figure as Canvas

    tables = tables_of(results.suite, results.is_chat)
    with style.context(["default", _STYLE]):
        size = _WIDTH, _PANEL_HEIGHT * max(1, len(tables))
        canvas = Canvas(figsize=size, layout="constrained", facecolor="white")
        panels = canvas.subplots(max(1, len(tables)), 1, squeeze=False)[:, 0]
        for axes, table in zip(panels, tables, strict=False):
            _draw_table(axes, table, results)
        if not tables:
            _draw_alone(panels[0], results)
        png = io.BytesIO()
        canvas.savefig(png, format="png", dpi=_DPI, metadata={"Software": "danube evaluate"})
    return png.getvalue()


def _draw_table(axes: Axes, table: PublishedTable, results: Results) -> None:
    headings = [*table.columns, *table.averages]
    figures = figures_of(table, results)
    width = _OF_A_GROUP / (len(table.rows) + 1)
    others = [row for row in table.rows if not row.own]
    for place, row in enumerate(table.rows):
        values = {**row.values, **row.averages}
        heights = [values.get(heading, math.nan) for heading in headings]
        shade = 0.85 - 0.5 * others.index(row) / max(1, len(others)) if row in others else 0.0
        color: Any = _OWN if row.own else (shade, shade, shade)
        axes.bar(_places(len(headings), place, width), heights, width, color=color, label=f"{row.model} {row.size}")
    ours = [figures.get(heading, Figure(math.nan, math.nan)) for heading in headings]
    _draw_ours(axes, _places(len(headings), len(table.rows), width), ours, width, name_of(results))
    _label(axes, headings, f"{table.report}, {table.where}: {table.title}")


def _draw_alone(axes: Axes, results: Results) -> None:
    figures = [figure_of(task) for task in results.tasks]
    _draw_ours(axes, _places(len(figures), 0, _OF_A_GROUP / 2), figures, _OF_A_GROUP / 2, name_of(results))
    _label(axes, [f"{task.task} {task.num_fewshot}-shot" for task in results.tasks], results.suite)


def _draw_ours(axes: Axes, places: Sequence[float], figures: Sequence[Figure], width: float, name: str) -> None:
    errors = [0.0 if math.isnan(figure.standard_error) else figure.standard_error for figure in figures]
    heights = [figure.value for figure in figures]
    axes.bar(places, heights, width, yerr=errors, color=_OURS, ecolor=_INK, capsize=2, label=name)


def _places(groups: int, bar: int, width: float) -> list[float]:
    return [group - _OF_A_GROUP / 2 + (bar + 0.5) * width for group in range(groups)]


def _label(axes: Axes, headings: Sequence[str], title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold", color=_INK)
    axes.set_ylabel("percent")
    axes.set_xticks(range(len(headings)), [heading.replace(" ", "\n", 1) for heading in headings])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
