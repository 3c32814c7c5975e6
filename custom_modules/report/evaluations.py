"""What suites were run on a run's checkpoints, for its page: the ledger, and the newest table of each suite."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.evaluation.bars import draw_bars
from custom_modules.evaluation.ledger import Entry, entries
from custom_modules.evaluation.remarks import remarks
from custom_modules.evaluation.results import EVALUATION, RESULTS, Results, read_results
from custom_modules.evaluation.table import printed_tables, task_rows

_HEADER = ("finished", "suite", "tokens", "protocol", "chat template", "items", "mean of its tasks")


def render_evaluations(run_dir: Path, plain: Mapping[str, Any] | None) -> str:
    """Return the section as HTML; nothing of a run that no suite was run on.

    Args:
        plain: the config of the run's last start.
    """
    noted = entries(run_dir)
    newest = list(_newest(run_dir))
    if not noted and not newest:
        return ""
    parts = ["<h2>Evaluations</h2>", *(f"<p>{escape(words)}</p>" for words in _words(noted, plain))]
    if noted:
        parts.append(_table([_HEADER, *map(_cells, noted)]))
    for found in newest:
        parts += _suite(found) if isinstance(found, Results) else [f"<p>{escape(found)}</p>"]
    return "\n".join(parts) + "\n"


def _words(noted: Sequence[Entry], plain: Mapping[str, Any] | None) -> Iterator[str]:
    """Say how often each suite was run, on how many checkpoints: whether one may have been chosen by it."""
    for suite in dict.fromkeys(entry.suite for entry in noted):
        of_suite = [entry for entry in noted if entry.suite == suite]
        weights = {entry.weights for entry in of_suite}
        times = "once" if len(of_suite) == 1 else f"{len(of_suite):,} times"
        checkpoints = "one checkpoint" if len(weights) == 1 else f"{len(weights):,} checkpoints"
        yield f"{suite} was run {times}, on {checkpoints}."
    scored = ((plain or {}).get("trainer") or {}).get("evaluate") or {}
    if scored.get("tasks"):
        yield f"While it trained, {', '.join(scored['tasks'])} were scored (trainer.evaluate)."


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        entry.suite,
        "-" if entry.consumed_tokens is None else f"{entry.consumed_tokens:,}",
        entry.protocol,
        "applied" if entry.chat_template else "none",
        "all" if entry.limit is None else f"first {entry.limit:,} of each task",
        f"{100 * sum(entry.values.values()) / max(1, len(entry.values)):.2f}",
    )


def _newest(run_dir: Path) -> Iterator[Results | str]:
    """Give each suite's evaluation of the newest checkpoint that has one, or why it cannot be shown."""
    folders = sorted(path.parent for path in (run_dir / EVALUATION).glob(f"tokens_*/*/{RESULTS}"))
    for folder in {folder.name: folder for folder in folders}.values():
        try:
            yield read_results(folder)
        except UserError as error:
            yield str(error)


def _suite(results: Results) -> Iterator[str]:
    yield f"<h2>{escape(results.suite)}</h2>"
    image = base64.b64encode(draw_bars(results)).decode()
    yield f'<img alt="Figures of {escape(results.suite)} as bars" src="data:image/png;base64,{image}">'
    for printed in printed_tables(results):
        yield f"<p>{escape(printed.heading)}</p>"
        yield _table(printed.rows)
        yield from (f"<p>{escape(remark)}</p>" for remark in printed.remarks)
    yield _table(task_rows(results))
    yield "<p>" + "<br>\n".join(map(escape, remarks(results))) + "</p>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [_row("td" if place else "th", row) for place, row in enumerate(rows)]
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
