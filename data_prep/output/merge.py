"""The second pass: the shards, in the order of their units, become one indexed dataset per stage and group.

How far it came is on the disk, in `data_prep.output.merge_record`: a merge that was killed goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.index import IndexedDatasetWriter
from custom_modules.data.lengths import read_lengths
from custom_modules.data.manifest import Part
from custom_modules.files import explained
from custom_modules.system import open_files
from custom_modules.threads import MANY, in_threads
from data_prep.output.merge_record import Merged, MergeRecord
from data_prep.tokenize.assignment import Destination
from data_prep.tokenize.shared_texts import placed_documents
from data_prep.work.progress import ProgressBar, count, say

_TOKENS_AT_ONCE = 1 << 22
_SHARDS_A_RECORD = 16
"""About a gigabyte of text, as units are by default: a kill costs the seconds that these take."""

_OTHER_FILES = 64
"""What a process may have open beside the datasets."""


def merge_shards(
    shards: Sequence[Path],
    folder: Path,
    destinations: Sequence[Destination],
    dtype: np.dtype[Any],
    moved: Mapping[Path, Path] | None = None,
) -> dict[Destination, Part]:
    """Write ``folder/<stage>/<source>_<group>.bin`` and ``.idx`` for every destination.

    What an earlier call with the same arguments has left, finished or not, is not done again, but the unfinished files
    are read once, for their hashes.

    Args:
        shards: folders that :func:`data_prep.tokenize.tokenize_shard.tokenize_shard` has published; their names say
            what is in them.
        folder: where to write.
        destinations: what the shards' destination numbers stand for.
        dtype: of the shards' tokens.
        moved: of `data_prep.tokenize.shared_texts.SharedTexts`, where there are several sources.

    Returns:
        A description of each dataset, its prefix relative to ``folder``. One without documents is not written.

    Raises:
        UserError: a file cannot be written.
    """
    record = MergeRecord.open(folder, [shard.name for shard in shards], destinations, dtype)
    record.write()  # before a file is written over that an older record speaks of
    unfinished = [number for number, merged in enumerate(record.merged) if merged.part is None]
    at_once = writers_at_once()
    for begin in range(0, max(len(unfinished), 1), at_once):
        with ExitStack() as abandoned:
            writers = _open_writers(unfinished[begin : begin + at_once], record, dtype)
            for writer in writers.values():
                abandoned.callback(writer.abandon)
            _append_shards(shards, record, writers, dtype, moved or {})
            for number, writer in writers.items():
                prefix = record.prefixes[number]
                record.merged[number] = _finish(writer, prefix, record.merged[number], destinations[number], dtype)
                record.write()
                writer.clear()
    return {
        destination: merged.part
        for destination, merged in zip(destinations, record.merged, strict=True)
        if merged.part is not None and merged.part.documents
    }


def writers_at_once() -> int:
    """How many datasets may be written at a time: each has two files open. Others take another pass over the shards."""
    return max(1, (open_files() - _OTHER_FILES) // 2)


def _open_writers(numbers: Sequence[int], record: MergeRecord, dtype: np.dtype[Any]) -> dict[int, IndexedDatasetWriter]:
    """A writer for each of some datasets, by its number. Hashing what is there leaves Python's lock."""

    def open_one(number: int) -> IndexedDatasetWriter:
        merged, prefix = record.merged[number], record.prefixes[number]
        with explained(prefix.parent):
            prefix.parent.mkdir(parents=True, exist_ok=True)
        return IndexedDatasetWriter(prefix, dtype, merged.documents, merged.tokens)

    return dict(zip(numbers, in_threads(open_one, numbers, MANY), strict=True))


def _append_shards(
    shards: Sequence[Path],
    record: MergeRecord,
    writers: dict[int, IndexedDatasetWriter],
    dtype: np.dtype[Any],
    moved: Mapping[Path, Path],
) -> None:
    """Append every shard to the datasets that do not have it yet, and note it now and then."""
    sizes = [(shard / "tokens.bin").stat().st_size for shard in shards]
    first = min((record.merged[number].shards for number in writers), default=len(shards))
    if first:
        say(f"joined by an earlier run: {first:,} of {count(len(shards), 'shard')}")
    progress = ProgressBar("joining the shards", sum(sizes), sum(sizes[:first]))
    try:
        for index in range(first, len(shards)):
            for number, tokens, lengths in _read(shards[index], dtype, moved.get(shards[index])):
                if number in writers and record.merged[number].shards <= index:
                    writers[number].append(tokens, lengths)
                progress.add(tokens.nbytes)
            done = index + 1
            if done % _SHARDS_A_RECORD == 0 and done < len(shards):
                _note(record, writers, done)
    finally:
        progress.close()


def _note(record: MergeRecord, writers: dict[int, IndexedDatasetWriter], shards: int) -> None:
    for number, writer in writers.items():
        if record.merged[number].shards < shards:
            writer.sync()
            record.merged[number] = Merged(shards, writer.documents, writer.tokens)
    record.write()


def _read(
    shard: Path, dtype: np.dtype[Any], moved: Path | None
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.int32]]]:
    """Yield documents that stand together and go to one destination, some megabytes at a time: [tokens], [lengths]."""
    documents, order = placed_documents(shard, moved)
    if order is not None:
        yield from _read_in_order(shard, dtype, documents, order)
        return
    lengths, destinations = documents["length"], documents["destination"]
    ends = np.cumsum(lengths, dtype=np.int64)
    changes = [*(np.flatnonzero(np.diff(destinations)) + 1).tolist(), documents.size]
    first, taken = 0, 0
    with (shard / "tokens.bin").open("rb") as file:
        for change in changes:
            while first < change:
                last = int(np.searchsorted(ends, taken + _TOKENS_AT_ONCE, side="right"))
                last = min(max(last, first + 1), change)
                tokens = np.fromfile(file, dtype, int(ends[last - 1]) - taken)
                assert tokens.size == ends[last - 1] - taken
                yield int(destinations[first]), tokens, lengths[first:last]
                first, taken = last, int(ends[last - 1])


def _read_in_order(
    shard: Path, dtype: np.dtype[Any], documents: NDArray[Any], order: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[Any], NDArray[np.int32]]]:
    tokens = np.memmap(shard / "tokens.bin", dtype, mode="r")
    ends = np.cumsum(documents["length"], dtype=np.int64)
    starts = ends - documents["length"]
    some: list[int] = []
    size = 0
    for number, following in zip(order.tolist(), [*order[1:].tolist(), -1], strict=True):
        some.append(number)
        size += int(documents["length"][number])
        place = documents["destination"][number]
        if following < 0 or documents["destination"][following] != place or size >= _TOKENS_AT_ONCE:
            joined = np.concatenate([tokens[starts[one] : ends[one]] for one in some])
            yield int(place), joined, documents["length"][some]
            some, size = [], 0


def _finish(
    writer: IndexedDatasetWriter, prefix: Path, merged: Merged, destination: Destination, dtype: np.dtype[Any]
) -> Merged:
    stage, source, group = destination
    data, index = writer.complete()
    part = Part(
        prefix=Path(stage) / f"{source}_{group}",
        source=source,
        stream="distilled" if group == "distilled" else "plain",
        documents=writer.documents,
        tokens=writer.tokens,
        dtype=dtype.name,
        bytes={"bin": data.bytes, "idx": index.bytes},
        sha256={"bin": data.sha256, "idx": index.sha256},
        lengths=read_lengths(prefix.with_name(f"{prefix.name}.idx")),
    )
    return Merged(merged.shards, writer.documents, writer.tokens, part)
