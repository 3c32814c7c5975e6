"""The second pass: the shards, in the order of their units, become one indexed dataset per stage and split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.index import IndexedDatasetWriter
from custom_modules.data.manifest import Part, Split
from custom_modules.files import explained
from data_prep.tokenize.shared_texts import placed_documents
from data_prep.work.progress import ProgressBar

_TOKENS_AT_ONCE = 1 << 22


def merge_shards(
    shards: Sequence[Path],
    folder: Path,
    destinations: Sequence[tuple[str, str, Split]],
    dtype: np.dtype[Any],
    moved: Mapping[Path, Path],
) -> dict[tuple[str, str, Split], Part]:
    """Write ``folder/<stage>/<source>_<split>.bin`` and ``.idx`` for every destination.

    Args:
        shards: folders that :func:`data_prep.tokenize.tokenize_shard.tokenize_shard` has published.
        folder: where to write.
        destinations: what the shards' destination numbers stand for.
        dtype: of the shards' tokens.
        moved: of `data_prep.tokenize.shared_texts.SharedTexts`.

    Returns:
        A description of each dataset, its prefix relative to ``folder``. One without documents is not written.

    Raises:
        UserError: a file cannot be written.
    """
    with ExitStack() as abandoned:
        writers = []
        for stage, source, split in destinations:
            prefix = folder / stage / f"{source}_{split}"
            with explained(prefix.parent):
                prefix.parent.mkdir(parents=True, exist_ok=True)
            writers.append(IndexedDatasetWriter(prefix, dtype))
            abandoned.callback(writers[-1].abandon)
        progress = ProgressBar("joining the shards", sum((shard / "tokens.bin").stat().st_size for shard in shards))
        abandoned.callback(progress.close)
        for shard in shards:
            for destination, tokens, lengths in _read(shard, dtype, moved.get(shard)):
                writers[destination].append(tokens, lengths)
                progress.add(tokens.nbytes)
        return {
            destination: _finish(writer, destination, dtype)
            for destination, writer in zip(destinations, writers, strict=True)
            if writer.documents
        }


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


def _finish(writer: IndexedDatasetWriter, destination: tuple[str, str, Split], dtype: np.dtype[Any]) -> Part:
    stage, source, split = destination
    data, index = writer.finish()
    return Part(
        prefix=Path(stage) / f"{source}_{split}",
        source=source,
        documents=writer.documents,
        tokens=writer.tokens,
        dtype=dtype.name,
        bytes={"bin": data.bytes, "idx": index.bytes},
        sha256={"bin": data.sha256, "idx": index.sha256},
    )
