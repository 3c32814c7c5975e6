"""What a GPU day has found so far: one file of JSON lines, whole after every part."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from custom_modules.errors import UserError
from custom_modules.files import whole_file
from tests.gpu_day.facts import Facts, read_facts

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Result:
    """What became of one part."""

    part: str
    outcome: Literal["passed", "failed", "skipped", "ended"]
    """ended: its time was over."""
    found: str
    """What people read: the figures, or why there are none."""
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))


class Results:
    """The results of some facts, in a folder."""

    def __init__(self, folder: Path, facts: Facts) -> None:
        self.folder = folder
        self.facts = facts
        self.by_part = {result.part: result for result in read_results(folder)[1]}

    def add(self, result: Result) -> None:
        """Put a result in the place of the part's last one, and all on the disk."""
        self.by_part[result.part] = result
        lines = [{"kind": "machine", **asdict(self.facts)}]
        lines += [{"kind": "result", **asdict(one)} for one in self.by_part.values()]
        whole_file(self.folder / RESULTS, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def outcome(self, part: str) -> str | None:
        """Return how a part went; None for one that has not come to an end."""
        result = self.by_part.get(part)
        return result.outcome if result else None


def read_results(folder: Path) -> tuple[Facts | None, list[Result]]:
    """Return what a folder has: whose results, and the results.

    Raises:
        UserError: its file is none of ours.
    """
    path = folder / RESULTS
    if not path.is_file():
        return None, []
    try:
        first, *others = [json.loads(line) for line in path.read_text().splitlines()]
        found = [Result(**{name: value for name, value in line.items() if name != "kind"}) for line in others]
        return read_facts({name: value for name, value in first.items() if name != "kind"}), found
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not the results of a GPU day ({error}); give --folder another") from None


def folder_for(base: Path, facts: Facts) -> Path:
    """Return the folder itself, or the first ``-2``, ``-3`` ... beside it that has no results of other facts."""
    number, folder = 1, base
    while read_results(folder)[0] not in (None, facts):
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder
