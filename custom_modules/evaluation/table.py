"""The reports' tables with this model as their last row, and what has to be known to read it below them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.evaluation.figures import Figure, figure_of, figures_of, mean_figure
from custom_modules.evaluation.published import PublishedTable, Row, tables_of
from custom_modules.evaluation.remarks import remarks, table_remarks
from custom_modules.evaluation.results import Results

_NOTHING = "-"


@dataclass(frozen=True)
class PrintedTable:
    """A table with this model in it.

    Attributes:
        heading: the report, its section and number, and the table's title.
        figures: this model's, by column and average.
        differences: of these to the report's own model, in percent.
        rows: cells, the header first.
        remarks: what is to be known of this table.
    """

    heading: str
    figures: Mapping[str, Figure]
    differences: Mapping[str, float]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]


def render_table(results: Results) -> str:
    """Return ``table.md``: the reports' tables that the suite is of, every task's figures, and how they came about."""
    blocks = []
    for printed in printed_tables(results):
        blocks += [f"## {printed.heading}", "\n".join(_markdown(printed.rows)), *printed.remarks]
    blocks += ["## Tasks", "\n".join(_markdown(task_rows(results))), *remarks(results)]
    return f"# {results.suite}: {results.model}\n\n" + "\n\n".join(blocks) + "\n"


def table_as_plain(results: Results) -> list[dict[str, Any]]:
    """Return what the tables say of this model, in percent, for programs."""
    return [
        {
            "table": printed.heading,
            "figures": {
                heading: {"value": _known(figure.value), "standard_error": _known(figure.standard_error)}
                for heading, figure in printed.figures.items()
            },
            "differences": dict(printed.differences),
        }
        for printed in printed_tables(results)
    ]


def printed_tables(results: Results) -> list[PrintedTable]:
    """Return the reports' tables with this model as their last row; none of a user's own suite."""
    return [_printed(table, results) for table in tables_of(results.suite, results.is_chat)]


def name_of(results: Results) -> str:
    """Return what a table calls the model."""
    return Path(results.model).name or results.model


def task_rows(results: Results) -> tuple[tuple[str, ...], ...]:
    """Return every task's figures as cells, the header first."""
    header = ("task", "shots", "metric", "items", "value", "bits per byte", "ties", "cut", "nothing left")
    rows = [
        (
            task.task,
            str(task.num_fewshot),
            task.metric,
            f"{task.items:,}",
            _shown(figure_of(task)),
            _NOTHING if task.bits_per_byte is None else f"{task.bits_per_byte:.4f}",
            f"{task.ties:,}",
            f"{task.cut:,}",
            f"{task.nothing_left:,}",
        )
        for task in results.tasks
    ]
    averages = {} if tables_of(results.suite, results.is_chat) else results.averages
    for name, tasks in averages.items():
        figures = [figure_of(task) for task in results.tasks if task.task in tasks]
        if len(figures) == len(tasks):
            rows.append((name, "", "", "", _shown(mean_figure(figures)), "", "", "", ""))
    return (header, *rows)


def _printed(table: PublishedTable, results: Results) -> PrintedTable:
    figures = figures_of(table, results)
    own = {**table.own.values, **table.own.averages}
    differences = {heading: figure.value - own[heading] for heading, figure in figures.items() if heading in own}
    has_tokens = any(row.tokens for row in table.rows)
    headings = [*table.columns, *table.averages]
    known = ("Size", "Tokens") if has_tokens else ("Size",)
    rows = [("Model", *known, *headings), *(_row(row, headings, has_tokens) for row in table.rows)]
    facts = [_NOTHING, *([_token_count(results.consumed_tokens)] if has_tokens else [])]
    rows.append((name_of(results), *facts, *(_shown(figures.get(heading)) for heading in headings)))
    less = (f"{differences[heading]:+.2f}" if heading in differences else _NOTHING for heading in headings)
    rows.append((f"less {table.own.model}", *[""] * len(facts), *less))
    return PrintedTable(
        heading=f"{table.report}, {table.where}: {table.title}",
        figures=figures,
        differences=differences,
        rows=tuple(rows),
        remarks=tuple(table_remarks(table, results)),
    )


def _row(row: Row, headings: Sequence[str], has_tokens: bool) -> tuple[str, ...]:
    values = {**row.values, **row.averages}
    facts = (row.size, row.tokens) if has_tokens else (row.size,)
    return row.model, *facts, *(f"{values[heading]:.2f}" if heading in values else _NOTHING for heading in headings)


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return _NOTHING
    return f"{figure.value:.2f}" + ("" if math.isnan(figure.standard_error) else f" ± {figure.standard_error:.2f}")


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def _token_count(tokens: int | None) -> str:
    """Write a count of tokens as the reports do, in trillions, or in millions below 10 billion."""
    if tokens is None:
        return _NOTHING
    return f"{tokens / 10**12:.2f}T" if tokens >= 10**10 else f"{tokens / 10**6:.2f}M"


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a Markdown table whose columns are aligned in its source, too."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*escaped, strict=True)]
    yield _line(escaped[0], widths)
    yield _line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], widths)
    yield from (_line(row, widths) for row in escaped[1:])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"
