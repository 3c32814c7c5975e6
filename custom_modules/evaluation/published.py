"""The reports' own benchmark tables, of ``published.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("published.yaml")
_PRINTED_STEP = 0.01
"""Percent: what the tables are rounded to."""


@dataclass(frozen=True)
class Column:
    """What a column is here."""

    task: str
    num_fewshot: int
    metric: str

    @property
    def is_proportion(self) -> bool:
        """Whether an item is either right or wrong."""
        return self.metric != "mc2"


@dataclass(frozen=True)
class Row:
    """A model's figures, in percent."""

    model: str
    size: str
    tokens: str
    """That it was trained on; empty where the table does not say."""
    values: Mapping[str, float]
    """By the column's heading."""
    averages: Mapping[str, float]
    """As printed, by heading."""
    own: bool
    """Whether it is the report's own model."""


@dataclass(frozen=True)
class Misprint:
    """An average that the row beside it does not have."""

    model: str
    average: str
    printed: float
    of_row: float


@dataclass(frozen=True)
class PublishedTable:
    """A table of a report."""

    name: str
    report: str
    where: str
    """Section and number."""
    title: str
    suite: str
    """That evaluates its columns."""
    chat: bool
    """Whether its models are chat models."""
    columns: Mapping[str, Column]
    """By heading."""
    averages: Mapping[str, frozenset[str]]
    """By heading the columns that are left out of it."""
    remarks: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def own(self) -> Row:
        """The report's own model."""
        return next(row for row in self.rows if row.own)

    def averaged(self, heading: str) -> list[str]:
        """Return the headings of the columns that are in an average."""
        return [column for column in self.columns if column not in self.averages[heading]]

    def misprints(self) -> Iterator[Misprint]:
        """Give the averages that differ from the mean of their row by more than rounding does."""
        for row in self.rows:
            for heading, printed in row.averages.items():
                values = [row.values[column] for column in self.averaged(heading)]
                of_row = sum(values) / len(values)
                if abs(of_row - printed) > _PRINTED_STEP / 2 + 1e-9:
                    yield Misprint(row.model, heading, printed, of_row)


@cache
def published() -> tuple[PublishedTable, ...]:
    """Return all tables in the reports' order."""
    return tuple(_table(plain) for plain in yaml.safe_load(_FILE.read_bytes()))


def tables_of(suite: str, chat: bool) -> tuple[PublishedTable, ...]:
    """Return the tables that a suite is of; none where it is the user's own.

    Args:
        chat: those of chat models, not those of base models; where a report has none, its one table.
    """
    of_suite = tuple(table for table in published() if table.suite == suite)
    return tuple(table for table in of_suite if table.chat == chat) or of_suite


@dataclass(frozen=True)
class Repetition:
    """The same weights in two tables of a report: what repeating an evaluation costs."""

    model: str
    tables: tuple[PublishedTable, PublishedTable]
    differences: Mapping[str, float]
    """Percent by heading, averages too, as far as both tables have them."""


def repetition(suite: str) -> Repetition | None:
    """Return what a report has twice for a suite of its own model (Danube's Tables 2 and 6); None: nothing."""
    for first, second in combinations(tables_of(suite, chat=False), 2):
        for again in second.rows:
            if again.model == first.own.model:
                one, other = ({**row.values, **row.averages} for row in (first.own, again))
                differences = {heading: abs(one[heading] - other[heading]) for heading in one if heading in other}
                return Repetition(again.model, (first, second), differences)
    return None


def _table(plain: Mapping[str, Any]) -> PublishedTable:
    columns = {heading: Column(**column) for heading, column in plain["columns"].items()}
    averages = {heading: frozenset(without) for heading, without in plain.get("averages", {}).items()}
    return PublishedTable(
        name=plain["name"],
        report=plain["report"],
        where=plain["where"],
        title=plain["title"],
        suite=plain["suite"],
        chat=plain.get("chat", False),
        columns=columns,
        averages=averages,
        remarks=tuple(plain.get("remarks", ())),
        rows=tuple(_row(row, columns, averages) for row in plain["rows"]),
    )


def _row(plain: Mapping[str, Any], columns: Mapping[str, Column], averages: Mapping[str, frozenset[str]]) -> Row:
    return Row(
        model=plain["model"],
        size=plain["size"],
        tokens=plain.get("tokens", ""),
        values=dict(zip(columns, plain["values"], strict=True)),
        averages=dict(zip(averages, plain.get("averages", ()), strict=True)),
        own=plain.get("own", False),
    )
