"""Before anything is tokenized: every unit through the steps, then copies dropped over the whole corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from data_prep.deduplicate.exact import find_copies
from data_prep.deduplicate.meaning import NAMES, find_by_meaning
from data_prep.deduplicate.minhash import find_near_copies
from data_prep.documents import Removal
from data_prep.filtering import DIGESTS, FilterOptions, filter_unit
from data_prep.part_folder import SegmentCount, find_part
from data_prep.progress import Progress, count, say
from data_prep.units import Unit
from data_prep.workers import Pool


@dataclass(frozen=True)
class CleanUnit:
    """What is left of a unit."""

    unit: Unit
    folder: Path
    """As `filter_unit` made it."""
    counts: list[SegmentCount]
    """Of its segments, before copies were dropped."""
    drops: Mapping[int, Removal]
    """Documents of the folder, by index, that are copies of others."""

    @property
    def key(self) -> str:
        """Another when another document of it is left."""
        drops = [(index, asdict(removal)) for index, removal in sorted(self.drops.items())]
        return hashlib.blake2b(orjson.dumps([self.folder.name, drops]), digest_size=16).hexdigest()


def clean(
    units: Sequence[Unit], options: FilterOptions, across: Mapping[str, Mapping[str, Any]], work: Path, workers: Pool
) -> list[CleanUnit]:
    """Filter and deduplicate; what an earlier run has finished is found again.

    Args:
        across: the options of the steps that compare documents, by name: those of `data_prep.steps.build.ACROSS`.
        work: a folder for what is made on the way.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, a wrong option, or a full disk.
    """
    folder = work / "filtered"
    folder.mkdir(parents=True, exist_ok=True)
    keys = [options.key(unit) for unit in units]
    sizes = [sum(segment.bytes for segment in unit) for unit in units]
    found = [find_part(folder, key) for key in keys]
    missing = [index for index, counts in enumerate(found) if counts is None]
    progress = Progress("filtering", sum(sizes), sum(sizes) - sum(sizes[index] for index in missing))
    calls = [(folder, keys[index], units[index], options) for index in missing]
    for call, counts in workers.run(filter_unit, calls):
        found[missing[call]] = counts
        progress.add(sizes[missing[call]])
    progress.close()
    folders = [folder / key for key in keys]
    drops: list[dict[int, Removal]] = [{} for _ in units]
    if "exact" in across:
        drops = find_copies([path / DIGESTS for path in folders])
        _say_dropped("exact copies", drops)
    if "minhash" in across:
        identity = orjson.dumps([dict(across["minhash"]), [sorted(gone) for gone in drops]])
        suffix = hashlib.blake2b(identity, digest_size=8).hexdigest()
        named = [(f"{key}.{suffix}", path) for key, path in zip(keys, folders, strict=True)]
        near = find_near_copies(named, drops, across["minhash"], work / "minhash", workers)
        _say_dropped("near copies", near)
        drops = [{**first, **second} for first, second in zip(drops, near, strict=True)]
    for name in NAMES:
        if name in across:
            gone = find_by_meaning(name, folders, drops, across[name], work / "vectors", workers)
            _say_dropped(f"{name}:", gone)
            drops = [{**first, **second} for first, second in zip(drops, gone, strict=True)]
    return [
        CleanUnit(unit, path, counts or [], gone)
        for unit, path, counts, gone in zip(units, folders, found, drops, strict=True)
    ]


def _say_dropped(what: str, drops: Sequence[Mapping[int, Removal]]) -> None:
    say(f"{what}: {count(sum(map(len, drops)), 'document')} dropped")
