"""A comparison in words and tables, for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from custom_modules.evaluation.compare import COVERAGE, LEVEL, Comparison, Difference, TaskComparison
from custom_modules.evaluation.results import PAPER, Results
from custom_modules.text import table

_MEAN = "mean"
_HASH = 12
"""Digits of a hash that are shown."""
_Shown = Callable[[float | None], str]


def render_comparison(comparison: Comparison) -> Iterator[str]:
    """Give the lines: figures, then a verdict on each task, then what is not in it."""
    first, second, tasks = comparison.first, comparison.second, comparison.tasks
    items = sum(task.items for task in tasks)
    yield f"{first.suite}: {items:,} items, the same of both (protocol {first.protocol})"
    yield f"A  {_named(first)}"
    yield f"B  {_named(second)}"
    yield ""
    yield from _accuracy_table(comparison)
    yield ""
    yield from _verdicts(tasks, comparison.mean)
    scored = [task for task in tasks if task.bits_per_byte is not None]
    if scored:
        yield ""
        yield "Bits per byte of the right answer, less is better:"
        yield from _bits_table(scored)
        yield ""
        yield from (_verdict(task.task, task.bits_per_byte, _bits, -1) for task in scored if task.bits_per_byte)
    yield ""
    yield from _notes(comparison)


def _named(results: Results) -> str:
    tokens = "" if results.consumed_tokens is None else f" at {results.consumed_tokens:,} tokens"
    return f"{results.model}{tokens}, {results.dtype}, weights {results.weights[:_HASH]}"


def _accuracy_table(comparison: Comparison) -> Iterator[str]:
    has_floor = bool(comparison.noise)
    header = ["task", "shots", "metric", "items", "A", "B", "B - A", "SE", "unpaired", f"{COVERAGE:.0%} interval"]
    header += ["won", "lost", "McNemar", "Holm", *(["floor"] if has_floor else [])]
    rows = [
        [
            task.task,
            str(task.num_fewshot),
            task.metric,
            f"{task.items:,}",
            _percent(task.accuracy.first),
            _percent(task.accuracy.second),
            _signed(task.accuracy.value),
            _percent(task.accuracy.standard_error),
            _percent(task.unpaired_standard_error),
            _interval(task.interval),
            f"{task.won:,}",
            f"{task.lost:,}",
            "-" if task.mcnemar is None else _p(task.mcnemar),
            _p(task.accuracy.corrected_p),
            *([_percent(task.accuracy.floor)] if has_floor else []),
        ]
        for task in comparison.tasks
    ]
    if len(comparison.tasks) > 1:
        rows.append(_mean_row(comparison))
    yield from table(header, rows)


def _mean_row(comparison: Comparison) -> list[str]:
    mean = comparison.mean
    figures = [_percent(mean.first), _percent(mean.second), _signed(mean.value), _percent(mean.standard_error), ""]
    floor = [_percent(mean.floor)] if comparison.noise else []
    return [_MEAN, "", "", "", *figures, _interval(comparison.mean_interval), "", "", "", _p(mean.p), *floor]


def _bits_table(tasks: Sequence[TaskComparison]) -> Iterator[str]:
    found = [(task.task, task.bits_per_byte) for task in tasks if task.bits_per_byte is not None]
    has_floor = any(one.floor is not None for _, one in found)
    header = ["task", "A", "B", "B - A", "SE", "t", "Holm", *(["floor"] if has_floor else [])]
    rows = [
        [
            name,
            _bits(one.first),
            _bits(one.second),
            f"{one.value:+.4f}",
            _bits(one.standard_error),
            f"{one.value / one.standard_error:+.1f}" if one.standard_error > 0 else "-",
            _p(one.corrected_p),
            *([_bits(one.floor)] if has_floor else []),
        ]
        for name, one in found
    ]
    yield from table(header, rows)


def _verdicts(tasks: Sequence[TaskComparison], mean: Difference) -> Iterator[str]:
    yield from (_verdict(task.task, task.accuracy, _percent, 1, most=1.0) for task in tasks)
    if len(tasks) > 1:
        yield _verdict(f"{_MEAN} of {len(tasks)}", mean, _percent, 1, most=1.0)


def _verdict(name: str, one: Difference, shown: _Shown, sign: int, most: float = math.inf) -> str:
    """Say in words what a difference is.

    Args:
        shown: writes an amount.
        sign: 1 where more is better, -1 where less is.
        most: that a difference can be.
    """
    if not one.is_told_apart:
        return f"{name}: not to be told apart: {_what_would_be(one.threshold, shown, most)}"
    word = "better" if one.value * sign > 0 else "worse"
    within = f", by no more than checkpoints of one run differ ({shown(one.floor)})" if one.is_within_floor else ""
    return f"{name}: B is {word}{within}"


def _what_would_be(threshold: float, shown: _Shown, most: float) -> str:
    if threshold == 0:
        return "no item differs"
    if math.isnan(threshold) or threshold >= most:
        return "at this size no difference would be"
    return f"at this size only differences above {shown(threshold)} would be"


def _notes(comparison: Comparison) -> Iterator[str]:
    first, second = comparison.first, comparison.second
    yield (
        "SE: paired standard error, beside that of unpaired items; intervals are of each task alone. Verdicts: "
        f"McNemar's exact test, or Student's where items are not right or wrong{_plain_means(comparison)}, "
        f"at {LEVEL:.0%} over all tasks by Holm."
    )
    yield "Not in it: another seed's run. Only the items are taken to be drawn anew, not the training."
    if comparison.noise:
        yield f"Floor: highest less lowest of {len(comparison.noise)} checkpoints of one run:"
        yield from (f"  {_named(found)}" for found in comparison.noise)
    else:
        yield "Late checkpoints of one run show a floor: --noise CHECKPOINT CHECKPOINT..."
    for name in ("dtype", "device", "tokenizer", "chat_template"):
        values = getattr(first, name), getattr(second, name)
        if values[0] != values[1]:
            yield f"Not the same of both: {name}, {str(values[0])[:_HASH]} and {str(values[1])[:_HASH]}"


def _plain_means(comparison: Comparison) -> str:
    grouped = [task.task for task in comparison.first.tasks if task.leaves]
    is_plain = grouped and comparison.first.protocol == PAPER
    return f" or subjects count alike ({', '.join(grouped)})" if is_plain else ""


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.2f}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"


def _bits(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def _interval(ends: tuple[float, float]) -> str:
    return f"{_signed(ends[0])} to {_signed(ends[1])}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"
