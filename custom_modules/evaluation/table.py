"""The reports' tables with this model as their last row, and what has to be known to read it below them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.evaluation.published import Column, PublishedTable, Row, repetition, tables_of
from custom_modules.evaluation.results import PAPER, Results, TaskResult
from custom_modules.evaluation.statistics import mean_standard_error, proportion_error
from custom_modules.evaluation.tasks.data_folder import MADE_UP
from custom_modules.evaluation.tasks.protocol import COMMIT

_NOTHING = "-"
_PAPER = f"prompts, examples, answers of the Open LLM Leaderboard's harness, commit {COMMIT[:7]} (Danube, section 5)"


@dataclass(frozen=True)
class Figure:
    """A value and its standard error, in percent; NaN where the error is not known."""

    value: float
    standard_error: float


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


def figures_of(table: PublishedTable, results: Results) -> dict[str, Figure]:
    """Return this model's figures by column and average, as far as all of their tasks are there."""
    found = {
        heading: figure_of(task)
        for heading, column in table.columns.items()
        if (task := _task(results, column)) is not None
    }
    for heading in table.averages:
        if all(column in found for column in table.averaged(heading)):
            found[heading] = mean_figure([found[column] for column in table.averaged(heading)])
    return found


def figure_of(task: TaskResult) -> Figure:
    """Return a task's figure."""
    return Figure(100 * task.value, math.nan if task.standard_error is None else 100 * task.standard_error)


def mean_figure(figures: Sequence[Figure]) -> Figure:
    """Return the plain mean of figures of different items."""
    value = sum(figure.value for figure in figures) / len(figures)
    return Figure(value, mean_standard_error([figure.standard_error for figure in figures]))


def own_errors(table: PublishedTable, results: Results) -> dict[str, float]:
    """Return the standard errors of the report's own row, in percent, by column and average.

    They are those of a share of as many items as the whole split has. Where the items are not right or wrong, this
    model's error stands in, brought to that number of items.
    """
    found = {}
    for heading, column in table.columns.items():
        task = _task(results, column)
        if task is not None:
            items = task.known_items or task.items
            found[heading] = (
                100 * proportion_error(table.own.values[heading] / 100, items)
                if column.is_proportion
                else figure_of(task).standard_error * math.sqrt(task.items / items)
            )
    for heading in table.averages:
        if all(column in found for column in table.averaged(heading)):
            found[heading] = mean_standard_error([found[column] for column in table.averaged(heading)])
    return found


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
    for name, tasks in results.averages.items():
        figures = [figure_of(task) for task in results.tasks if task.task in tasks]
        if len(figures) == len(tasks):
            rows.append((name, "", "", "", _shown(mean_figure(figures)), "", "", "", ""))
    return (header, *rows)


def remarks(results: Results) -> Iterator[str]:
    """Give the lines below every table: the protocol, and what of the items was not as a reader would take it to be."""
    yield f"Protocol: {_protocol(results)}."
    made_up = [task.task for task in results.tasks if task.revision == MADE_UP]
    if made_up:
        yield f"Made up, and no figure to hold against the reports': the data of {', '.join(made_up)}."
    if results.chat_template:
        yield "Chat template: the folder's own, around every prompt. The reports' chat models were asked without one."
    elif results.is_chat:
        yield "Chat template: none, as in the reports."
    yield from _sizes(results)
    yield _counted("Prompts cut from the left", results, lambda task: task.cut)
    yield _counted("Exact ties, of which the first answer wins", results, lambda task: task.ties)
    yield _counted("Items with nothing left to score in full", results, lambda task: task.nothing_left)
    yield "± is one standard error, of the items alone: another run of the same recipe differs by more."
    tokens = "" if results.consumed_tokens is None else f" at {results.consumed_tokens:,} tokens"
    what = (
        f"{results.model}{tokens} ({results.kind}), weights {results.weights[:12]}, {results.dtype} on {results.device}"
    )
    counts = f"{results.tokens_scored:,} tokens scored and {results.tokens_generated:,} generated"
    yield f"{what}: {counts} in {results.seconds:,.0f} s."


def _protocol(results: Results) -> str:
    if all(task.known_items is None for task in results.tasks):
        return "none, the user's own items as they are"
    if results.protocol == PAPER:
        return f"paper: {_PAPER}"
    return f"{results.protocol}: the tasks of lm-eval {results.versions.get('lm-eval', '')} as they are"


def _sizes(results: Results) -> Iterator[str]:
    short = [task for task in results.tasks if task.known_items is not None and task.items < task.known_items]
    if short:
        named = ", ".join(f"{task.task} {task.items:,} of {task.known_items:,}" for task in short)
        limit = f"--limit {results.limit}" if results.limit is not None else "the data has no more"
        yield f"Not whole ({limit}): {named}. The reports' figures are of whole sets."


def _counted(what: str, results: Results, count: Callable[[TaskResult], int]) -> str:
    total, items = sum(map(count, results.tasks)), sum(task.items for task in results.tasks)
    named = ", ".join(f"{task.task} {count(task):,}" for task in results.tasks if count(task))
    return f"{what}: {total:,} of {items:,}" + (f" ({named})." if total else ".")


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
        remarks=tuple(_remarks(table, results)),
    )


def _row(row: Row, headings: Sequence[str], has_tokens: bool) -> tuple[str, ...]:
    values = {**row.values, **row.averages}
    facts = (row.size, row.tokens) if has_tokens else (row.size,)
    return row.model, *facts, *(f"{values[heading]:.2f}" if heading in values else _NOTHING for heading in headings)


def _remarks(table: PublishedTable, results: Results) -> Iterator[str]:
    yield from table.remarks
    errors = {heading: error for heading, error in own_errors(table, results).items() if not math.isnan(error)}
    if errors:
        named = ", ".join(f"{heading} {error:.2f}" for heading, error in errors.items())
        yield f"Standard errors of {table.own.model}'s row, by its items: {named}."
    twice = repetition(table.suite)
    if twice is not None and any(table.name == one.name for one in twice.tables):
        where = " and ".join(one.where for one in twice.tables)
        named = ", ".join(f"{heading} {difference:.2f}" for heading, difference in twice.differences.items())
        yield f"What repeating costs: {twice.model}'s weights are in the report twice ({where}), apart by {named}."
    for misprint in table.misprints():
        yield (
            f"{misprint.average} of {misprint.model} is printed as {misprint.printed:.2f}; its row gives "
            f"{misprint.of_row:.2f}."
        )


def _task(results: Results, column: Column) -> TaskResult | None:
    wanted = column.task, column.num_fewshot, column.metric
    return next((task for task in results.tasks if (task.task, task.num_fewshot, task.metric) == wanted), None)


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
