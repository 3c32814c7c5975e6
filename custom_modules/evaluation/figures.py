"""This model's figures in a report's table, and the standard errors of the report's own row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from custom_modules.evaluation.published import Column, PublishedTable
from custom_modules.evaluation.results import Results, TaskResult
from custom_modules.evaluation.statistics import mean_standard_error, proportion_error


@dataclass(frozen=True)
class Figure:
    """A value and its standard error, in percent; NaN where the error is not known."""

    value: float
    standard_error: float


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

    They are those of a share of as many items as the whole split has. Where items are not right or wrong, this model's
    error over all of them stands in.
    """
    found = {}
    for heading, column in table.columns.items():
        task = _task(results, column)
        if task is None:
            continue
        items = task.known_items or task.items
        if column.is_proportion:
            found[heading] = 100 * proportion_error(table.own.values[heading] / 100, items)
        elif task.items == items and task.standard_error is not None:
            found[heading] = figure_of(task).standard_error
    for heading in table.averages:
        if all(column in found for column in table.averaged(heading)):
            found[heading] = mean_standard_error([found[column] for column in table.averaged(heading)])
    return found


def _task(results: Results, column: Column) -> TaskResult | None:
    wanted = column.task, column.num_fewshot, column.metric
    return next((task for task in results.tasks if (task.task, task.num_fewshot, task.metric) == wanted), None)
