"""Table 3's layout: the report's columns, and the new one beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from custom_modules.mt_bench.published import Published, published
from custom_modules.mt_bench.questions import TURNS
from custom_modules.mt_bench.scores import WITHOUT, Mean, Scores
from custom_modules.text import table

_NOTHING = "-"
_UPPER = {"stem": "STEM"}
_BOTH = "both_turns"


def render(name: str, judge: str, scores: Scores, all_categories: bool) -> Iterator[str]:
    """Give the lines of the table: turn 1, turn 2, the categories and an average in each.

    Args:
        all_categories: with coding, with FastChat's average over both turns, and with section 7's figures.
    """
    columns = [column for column in published() if all_categories or column.without_coding]
    said = "all categories" if all_categories else f"without {WITHOUT}"
    yield f"MT-Bench, {said}; {name} is judged by {judge}, the others by GPT-4 (technical report)"
    yield from table(["", *(column.name for column in columns), name], _rows(columns, scores, all_categories))
    yield from _sources(columns)
    if scores.unrated:
        yield "unrated, twice without a rating from 1 to 10, and left out of the means:"
        yield from (f"  question {number}, turn {turn}" for number, turn in scores.unrated)


def _rows(columns: Sequence[Published], scores: Scores, all_categories: bool) -> Iterator[Sequence[str]]:
    for turn in TURNS:
        yield [f"Turn {turn}", *[""] * (len(columns) + 1)]
        for category, mean in scores.by_category[turn].items():
            shown = _UPPER.get(category, category.capitalize())
            yield [shown, *(_number(column.of(turn), category) for column in columns), _mean(mean)]
        averages = (_number(_averages(column, all_categories), f"turn_{turn}") for column in columns)
        yield ["Average", *averages, _mean(scores.by_turn[turn])]
    if all_categories:
        averages = (_number(_averages(column, all_categories), _BOTH) for column in columns)
        yield ["Both turns", *averages, _mean(scores.both_turns)]


def _averages(column: Published, all_categories: bool) -> Mapping[str, float]:
    return column.all_categories if all_categories else column.without_coding


def _number(found: Mapping[str, float], key: str) -> str:
    return f"{found[key]:.2f}" if key in found else _NOTHING


def _mean(mean: Mean) -> str:
    value = _NOTHING if mean.value is None else f"{mean.value:.2f}"
    return f"{value} ({mean.unrated} unrated)" if mean.unrated else value


def _sources(columns: Sequence[Published]) -> Iterator[str]:
    sources: dict[str, list[str]] = {}
    for column in columns:
        sources.setdefault(column.source, []).append(column.name)
    yield from (f"{source}: {', '.join(names)}" for source, names in sources.items())
