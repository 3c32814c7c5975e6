"""The results as Markdown, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from custom_modules.files import whole_file
from tests.gpu_day.results import Results

PAGE = "performance.md"


def write_page(results: Results) -> Path:
    """Write the page beside the results, whole; returns its path."""
    path = results.folder / PAGE
    whole_file(path, "".join(f"{line}\n" for line in page(results)).encode())
    return path


def page(results: Results) -> Iterator[str]:
    """A section of the docs: what it ran on, and a line of what each part found."""
    facts = results.facts
    day = min((result.at[:10] for result in results.by_part.values()), default="")
    yield f"## {facts.devices[0] if facts.devices else 'CPU, a rehearsal'}, {day}: a GPU day"
    yield ""
    rehearsed = "" if facts.size == "full" else " at the tiny size, which says nothing of speed"
    yield f"{facts.as_line()}. `make gpu-day`{rehearsed}:"
    yield ""
    rows = [("part", "outcome", "found", "seconds"), ("---", "---", "---", "---")]
    rows += [
        (result.part, result.outcome, result.found.replace("|", "\\|"), f"{result.seconds:.0f}")
        for result in results.by_part.values()
    ]
    yield from (f"| {' | '.join(row)} |" for row in rows)
