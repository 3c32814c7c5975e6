"""Every document that a step took out, kept with its reason in ``data.dir/removed``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from custom_modules.files import explained
from data_prep.clean.filter_corpus import CleanUnit
from data_prep.input.documents import BenchmarkStep, Removal, Step
from data_prep.steps.filter_shard import REMOVED, read_lines


def read_removed(folder: Path) -> Iterator[dict[str, Any]]:
    """Every removed document, with ``step``, ``reason`` and ``detail``."""
    for path in sorted(folder.glob("*.zst")):
        yield from map(orjson.loads, read_lines(path))


def count_benchmark_hits(steps: Sequence[Step], folder: Path) -> list[dict[str, Any]]:
    """Return each benchmark's items, items hit, documents removed and longest match, from what was removed."""
    removals = (Removal(record["step"], record["reason"], record["detail"]) for record in read_removed(folder))
    found = next((step for step in steps if isinstance(step, BenchmarkStep)), None)
    return found.benchmark_hits(removals) if found else []


def collect_removed(cleaned: Sequence[CleanUnit], shards: Sequence[Path], folder: Path) -> None:
    """Write ``folder/00000.jsonl.zst`` and so on, one a unit: what the steps removed, then the copies.

    Args:
        shards: what `data_prep.tokenize.tokenize_shard.tokenize_shard` made of the units.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, (unit, shard) in enumerate(zip(cleaned, shards, strict=True)):
            with (folder / f"{number:05d}.jsonl.zst").open("wb") as whole:
                for piece in (unit.folder / REMOVED, shard / REMOVED):
                    with piece.open("rb") as source:
                        shutil.copyfileobj(source, whole)
