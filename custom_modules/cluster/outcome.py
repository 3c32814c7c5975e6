"""What checks before a start have found, and the table of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What one check found: a line of the table."""

    check: str
    found: str
    problem: str | None = None
    """What is wrong and what to do; None if nothing is."""
    passes: bool = False
    """Whether it is a disk or a file server that failed, and may be well again at the next start."""


def render(rows: Sequence[Outcome]) -> Iterator[str]:
    """The table, a line a check."""
    checks, found = (max(len(getattr(row, name)) for row in rows) for name in ("check", "found"))
    yield "preflight"
    for row in rows:
        yield f"  {row.check:<{checks}}  {row.found:<{found}}  {'FAILED' if row.problem else 'ok'}"
