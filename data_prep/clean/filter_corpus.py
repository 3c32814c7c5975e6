"""Before anything is tokenized: every unit through the steps, then copies dropped over the whole corpus.

A step that keeps a fraction of the documents has to have scored them all first. So there is a pass up to such a step,
and one that begins with the cut.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from custom_modules.files import whole_file, whole_folder
from data_prep.across.corpus_step import CorpusStep
from data_prep.across.drops import Drops, drops_file
from data_prep.across.quantile import find_cut
from data_prep.input.documents import BenchmarkStep, Step
from data_prep.input.units import Unit
from data_prep.steps.filter_shard import SCORES, FilterOptions, filter_shard
from data_prep.work.damaged_files import find_damaged, refuse
from data_prep.work.progress import ProgressBar, count, say
from data_prep.work.shard import SegmentCount, find_finished, find_shard, in_segments
from data_prep.work.workers import Pool

_DROPS_FORMAT = 1
_DROPPED = "dropped"
"""The file with how many documents a step drops."""


@dataclass(frozen=True)
class CleanUnit:
    """What is left of a unit."""

    unit: Unit
    folder: Path
    """The folder that `filter_shard` made."""
    counts: list[SegmentCount]
    """The counts of its segments, before copies were dropped."""
    drops: Drops
    """Documents of the folder that steps over the whole corpus have dropped."""

    @property
    def key(self) -> str:
        """Another when another document of it is left."""
        return hashlib.blake2b(orjson.dumps([self.folder.name, self.drops.key]), digest_size=16).hexdigest()


def filter_corpus(
    units: Sequence[Unit], options: FilterOptions, across: Sequence[CorpusStep], work: Path, workers: Pool
) -> list[CleanUnit]:
    """Filter and deduplicate; what an earlier run has finished is found again.

    Args:
        across: the steps that compare documents, in their order.
        work: a folder for what is made on the way.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, a file that cannot be read when
            ``data.on_damaged_file=fail``, a wrong option, or a full disk.
    """
    folder = work / "filtered"
    folder.mkdir(parents=True, exist_ok=True)
    for step in options.steps:
        for line in step.coverage() if isinstance(step, BenchmarkStep) else ():
            say(line)
    folders: list[Path] = []
    cut: tuple[Step, ...] = ()
    for one in passes(options):
        folders, found = _filter(units, folders, replace(one, steps=(*cut, *one.steps)), folder, workers)
        if options.on_damaged_file == "fail":
            refuse(find_damaged(in_segments(units, found)))
        if one.to_cut:
            cut = find_cut(one.to_cut, [path / SCORES for path in folders])
    drops = [Drops() for _ in units]
    for comparing in across:
        drops = _drop(comparing, folders, drops, work, workers)
    return [
        CleanUnit(unit, path, counts, gone)
        for unit, path, counts, gone in zip(units, folders, found, drops, strict=True)
    ]


def passes(options: FilterOptions) -> Iterator[FilterOptions]:
    """The steps up to one that has to see all scores, and so on, and those behind the last such."""
    begin = 0
    for end in range(1, len(options.steps) + 1):
        one = replace(options, steps=options.steps[begin:end])
        if one.to_cut:
            yield one
            begin = end
    yield replace(options, steps=options.steps[begin:])


def _drop(step: CorpusStep, folders: Sequence[Path], before: Sequence[Drops], work: Path, workers: Pool) -> list[Drops]:
    """What is dropped of each unit after a step, by it and by those before."""
    units = [(path.name, drops.key) for path, drops in zip(folders, before, strict=True)]
    defining = orjson.dumps([_DROPS_FORMAT, step.name, dict(step.options), units])
    folder = work / "drops" / f"{step.name}.{hashlib.blake2b(defining, digest_size=8).hexdigest()}"
    if not folder.is_dir():
        with whole_folder(folder, alone=True) as aside:
            found = step.find(folders, before, work, workers, aside)
            whole_file(aside / _DROPPED, str(found).encode())
    dropped = int((folder / _DROPPED).read_bytes())
    say(f"{step.heading}: {count(dropped, 'document')} dropped")
    files = [drops_file(folder, unit) for unit in range(len(folders))]
    return [Drops((*drops.paths, file)) if file.is_file() else drops for drops, file in zip(before, files, strict=True)]


def _filter(
    units: Sequence[Unit], before: Sequence[Path], options: FilterOptions, folder: Path, workers: Pool
) -> tuple[list[Path], list[list[SegmentCount]]]:
    """One pass over all units.

    Args:
        before: the folders of the pass before; none in the first.

    Returns:
        Of each unit its folder, and the counts of its segments.
    """
    inputs: Sequence[Path | None] = before or [None] * len(units)
    keys = [_key(folder, options, unit, source) for unit, source in zip(units, inputs, strict=True)]
    sizes = [sum(segment.bytes for segment in unit) for unit in units]
    found = {index: counts for index, key in enumerate(keys) if (counts := find_shard(folder, key)) is not None}
    missing = [index for index in range(len(units)) if index not in found]
    progress = ProgressBar("filtering", sum(sizes), sum(sizes[index] for index in found))
    calls = [(folder, keys[index], units[index], options, inputs[index]) for index in missing]
    for call, counts in workers.run(filter_shard, calls):
        found[missing[call]] = counts
        progress.add(sizes[missing[call]])
    progress.close()
    return [folder / key for key in keys], [found[index] for index in range(len(units))]


def _key(folder: Path, options: FilterOptions, unit: Unit, before: Path | None) -> str:
    """The name of a unit's folder: a new one where an earlier run met a file that it could not read."""
    attempts = (options.key(unit, before, attempt) for attempt in itertools.count())
    return next(key for key in attempts if not (folder / key).exists() or find_finished(folder, key) is not None)
