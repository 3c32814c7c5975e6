"""What a finished evaluation's figures are written as."""

from __future__ import annotations

import json

from custom_modules.evaluation.bars import FIGURE, draw_bars
from custom_modules.evaluation.results import RESULTS, Results, as_plain
from custom_modules.evaluation.table import render_table, table_as_plain

TABLE, TABLE_JSON = "table.md", "table.json"


def outcome_files(results: Results) -> dict[str, bytes]:
    """Return the files by name: the table for people and for programs, the bars, and last all figures, without which
    an evaluation is not finished."""
    return {
        TABLE: render_table(results).encode(),
        TABLE_JSON: _json(table_as_plain(results)),
        FIGURE: draw_bars(results),
        RESULTS: _json(as_plain(results)),
    }


def _json(plain: object) -> bytes:
    return json.dumps(plain, indent=1, ensure_ascii=False).encode() + b"\n"
