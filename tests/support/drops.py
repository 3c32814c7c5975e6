"""What steps over the whole corpus drop."""

from __future__ import annotations

from pathlib import Path

from data_prep.across.drops import Dropped, Drops, drops_file


def read_drops(folder: Path, units: int) -> list[list[Dropped]]:
    """Of each unit what `data_prep.across.corpus_step.CorpusStep.find` has written."""
    files = [drops_file(folder, unit) for unit in range(units)]
    return [list(Drops((file,) if file.is_file() else ())) for file in files]
