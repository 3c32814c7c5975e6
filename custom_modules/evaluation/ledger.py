"""``evaluations.jsonl`` beside a run: which suites were run on which of its checkpoints, and when.

LokiLM's suite was run once, on a checkpoint that had been chosen without it (section 3.1): here a reader can see
whether that is so.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from custom_modules.evaluation.results import Results
from custom_modules.files import explained, readable
from custom_modules.run_folder.ownership import EVALUATIONS
from custom_modules.system import to_disk
from custom_modules.text import say


class Entry(BaseModel):
    """One evaluation of a run."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    time: float
    """Seconds since 1970, when it was finished."""
    suite: str
    protocol: str
    model: str
    kind: str
    consumed_tokens: int | None
    weights: str
    chat_template: bool
    limit: int | None
    values: dict[str, float]
    """By task and shots, such as ``arc_challenge/25``: fractions."""


def note(run: Path, results: Results) -> None:
    """Add a finished evaluation to a run's ledger, once: the same figures of the same weights are not added again.

    Lines are only ever added, in one write each, so several processes may do it at once. Of somebody else's run, whose
    folder this user may not write, that is said instead.

    Args:
        run: its folder.

    Raises:
        UserError: the ledger cannot be read or written.
    """
    entry = _entry(results)
    if any(_is_same(entry, there) for there in entries(run)):
        return
    path = run / EVALUATIONS
    if path.parent.is_dir() and not os.access(path if path.exists() else path.parent, os.W_OK, effective_ids=True):
        say(f"{path}: not yours to write, so this evaluation of {results.suite} is not noted there")
        return
    with explained(path):
        was_cut = path.exists() and not (b"\n" + path.read_bytes()).endswith(b"\n")
        line = (b"\n" if was_cut else b"") + entry.model_dump_json().encode() + b"\n"
        with path.open("ab", buffering=0) as stream:
            while line:
                line = line[stream.write(line) :]
            to_disk(stream.fileno())


def entries(run: Path) -> list[Entry]:
    """Return a run's evaluations, oldest first. A line that was cut short by a crash is passed over.

    Raises:
        UserError: the ledger cannot be read.
    """
    path = run / EVALUATIONS
    if not path.is_file():
        return []
    with readable(path):
        lines = path.read_bytes().splitlines()
    found = []
    for line in lines:
        try:
            found.append(Entry.model_validate_json(line))
        except ValidationError:
            continue
    return found


def _entry(results: Results) -> Entry:
    return Entry(
        time=time.time(),
        suite=results.suite,
        protocol=results.protocol,
        model=results.model,
        kind=results.kind,
        consumed_tokens=results.consumed_tokens,
        weights=results.weights,
        chat_template=results.chat_template,
        limit=results.limit,
        values={f"{task.task}/{task.num_fewshot}": task.value for task in results.tasks},
    )


def _is_same(one: Entry, other: Entry) -> bool:
    kept = {"time", "model"}
    return one.model_dump(exclude=kept) == other.model_dump(exclude=kept)
