"""Steps over the whole corpus without worker processes, and what they drop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from data_prep.across.drops import Dropped, Drops, drops_file
from data_prep.work.workers import Result


class Here:
    """A `data_prep.work.workers.Pool` that calls in this process."""

    def run(self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        return iter([(index, function(*one)) for index, one in enumerate(calls)])

    def warm_up(self, function: Callable[..., object], *arguments: object) -> None:
        """Nothing has to start."""


def read_drops(folder: Path, units: int) -> list[list[Dropped]]:
    """Of each unit what `data_prep.across.corpus_step.CorpusStep.find` has written."""
    files = [drops_file(folder, unit) for unit in range(units)]
    return [list(Drops((file,) if file.is_file() else ())) for file in files]
