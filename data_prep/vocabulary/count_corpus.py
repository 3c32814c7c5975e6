"""All words of the input, each once: units counted by worker processes, then joined by the words' hashes."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from custom_modules.files import whole_folder
from data_prep.input.units import Unit
from data_prep.vocabulary.count_words import count_words, tables_of, unit_key
from data_prep.vocabulary.word_table import HASHES, join, read_between, size_of, write_table
from data_prep.work.progress import ProgressBar, count, say
from data_prep.work.shard import SegmentCount, find_finished, keep_only
from data_prep.work.workers import Pool

_WORDS_OF_A_TABLE = 1 << 19
"""About so many are joined in memory at a time, copies in several units counted as often as they come."""
_TABLES_OF_A_SMALL_CORPUS, _WORDS_OF_A_SMALL_TABLE = 16, 1 << 12
UNITS, TABLES = "units", "tables"
"""The folders that this makes."""


def count_corpus(
    units: Sequence[Unit], text_key: str, work: Path, workers: Pool
) -> tuple[list[Path], list[list[SegmentCount]]]:
    """Count the words of all units; what an earlier run has finished is found again.

    Args:
        work: a folder for what is made on the way.

    Returns:
        Tables that have each word once, the same whatever the number of workers, and the counts of each unit.

    Raises:
        UserError: a file that cannot be written.
    """
    folder = work / UNITS
    keys = [unit_key(unit, text_key) for unit in units]
    sizes = [sum(segment.bytes for segment in unit) for unit in units]
    found = {index: counts for index, key in enumerate(keys) if (counts := find_finished(folder, key)) is not None}
    missing = [index for index in range(len(units)) if index not in found]
    keep_only(folder, {keys[index] for index in found})
    if found:
        say(f"finished by an earlier run: {len(found):,} of {count(len(units), 'unit')}")
    progress = ProgressBar("counting words", sum(sizes), sum(sizes[index] for index in found))
    for call, counts in workers.run(count_words, [(folder, keys[index], units[index], text_key) for index in missing]):
        found[missing[call]] = counts
        progress.add(sizes[missing[call]])
    progress.close()
    tables = _join_all([folder / key for key in keys], work / TABLES, workers)
    return tables, [found[index] for index in range(len(units))]


def _join_all(folders: Sequence[Path], into: Path, workers: Pool) -> list[Path]:
    parts = tuple(table for folder in folders for table in tables_of(folder))
    words = sum(map(size_of, parts))
    number = max(-(-words // _WORDS_OF_A_TABLE), min(_TABLES_OF_A_SMALL_CORPUS, words // _WORDS_OF_A_SMALL_TABLE), 1)
    defining = "\n".join([str(number), *(folder.name for folder in folders)])
    folder = into / hashlib.blake2b(defining.encode(), digest_size=16).hexdigest()
    keep_only(into, {folder.name})
    tables = [folder / f"{index:06d}" for index in range(number)]
    ends = [HASHES * index // number for index in range(number + 1)]
    calls = [(parts, *ends[index : index + 2], table) for index, table in enumerate(tables) if not table.is_dir()]
    deque(workers.run(_join, calls), maxlen=0)
    return tables


def _join(parts: Sequence[Path], begin: int, end: int, table: Path) -> None:
    with whole_folder(table) as aside:
        write_table(aside, join([read_between(part, begin, end) for part in parts]))
