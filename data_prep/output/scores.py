"""The scores of the kept documents, as `custom_modules.data.scores` has them, moved from shards to datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.manifest import SCORES as SUFFIX
from custom_modules.data.manifest import Part
from custom_modules.files import explained, sha256_of, sync
from data_prep.across.order import Mapped, kth_smallest
from data_prep.steps.filter_shard import SCORES
from data_prep.tokenize.assignment import Destination
from data_prep.tokenize.shared_texts import placed_documents

PERCENTILES = (1, 10, 50, 90, 99)
_ROWS = 1 << 16
_OPEN_AT_ONCE = 128
"""Files that are written in one pass over the shards."""


def add_scores(
    shards: Sequence[Path],
    folder: Path,
    names: Sequence[str],
    destinations: Sequence[Destination],
    datasets: Mapping[Destination, Part],
    moved: Mapping[Path, Path],
) -> dict[Destination, Part]:
    """Write ``folder/<stage>/<source>_<group>.scores.parquet`` beside every dataset; memory does not grow with them.

    Args:
        shards: folders that `data_prep.tokenize.tokenize_shard.tokenize_shard` has published.
        names: of the scores there, in their order.
        destinations: what the shards' destination numbers stand for.
        datasets: what `data_prep.output.merge.merge_shards` has written.
        moved: as it was given.

    Returns:
        The datasets, each with its new file.

    Raises:
        UserError: a file cannot be written.
    """
    paths = {name: folder / f"{part.prefix}.{SUFFIX}" for name, part in datasets.items()}
    with explained(folder):
        for begin in range(0, len(destinations), _OPEN_AT_ONCE):
            some = range(begin, min(begin + _OPEN_AT_ONCE, len(destinations)))
            writers = {
                number: _Writer(paths[destinations[number]], names) for number in some if destinations[number] in paths
            }
            for shard in shards if writers else ():
                documents, order = placed_documents(shard, moved.get(shard))
                numbers, scores = documents["destination"], np.fromfile(shard / SCORES, "<f4").reshape(-1, len(names))
                if order is not None:
                    numbers, scores = numbers[order], scores[order]
                for number in np.unique(numbers).tolist():
                    if number in some:
                        writers[number].append(scores[numbers == number])
            for writer in writers.values():
                writer.finish()
        for path in paths.values():
            sync(path)
        return {
            name: replace(
                part,
                bytes={**part.bytes, SUFFIX: paths[name].stat().st_size},
                sha256={**part.sha256, SUFFIX: sha256_of(paths[name])},
            )
            for name, part in datasets.items()
        }


class _Writer:
    """Collects rows into groups of one size, so that the bytes do not depend on how they come."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        import pyarrow
        from pyarrow import parquet

        self._schema = pyarrow.schema([pyarrow.field(name, pyarrow.float32(), nullable=False) for name in names])
        self._file = parquet.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=False)
        self._rows: NDArray[np.float32] = np.empty((0, len(names)), np.float32)

    def append(self, rows: NDArray[np.float32]) -> None:
        self._rows = np.concatenate([self._rows, rows])
        while len(self._rows) >= _ROWS:
            self._write(self._rows[:_ROWS])
            self._rows = self._rows[_ROWS:]

    def finish(self) -> None:
        if len(self._rows):
            self._write(self._rows)
        self._file.close()

    def _write(self, rows: NDArray[np.float32]) -> None:
        import pyarrow

        columns: list[Any] = [pyarrow.array(np.ascontiguousarray(column)) for column in rows.T]
        self._file.write_table(pyarrow.table(columns, schema=self._schema), row_group_size=_ROWS)


def percentiles(parts: Iterable[Part]) -> Iterator[tuple[str, str, list[float]]]:
    """Yield :data:`PERCENTILES` of the documents' scores for each source and model: model, source, values.

    Args:
        parts: datasets; those without scores are passed over.
    """
    from pyarrow import parquet

    by_source: dict[str, list[Path]] = {}
    for part in parts:
        if part.scores:
            by_source.setdefault(part.source, []).append(part.scores)
    for source, paths in by_source.items():
        groups = [(path, group) for path in paths for group in range(parquet.read_metadata(path).num_row_groups)]
        count = sum(parquet.read_metadata(path).num_rows for path in paths)
        for name in parquet.read_schema(paths[0]).names:
            scores = Mapped(groups, partial(_read_group, name=name))
            yield name, source, [_percentile(scores, count, percent) for percent in PERCENTILES]


def _read_group(place: tuple[Path, int], name: str) -> NDArray[np.float32]:
    from pyarrow import parquet

    path, group = place
    scores: NDArray[np.float32] = parquet.ParquetFile(path).read_row_group(group, columns=[name])[name].to_numpy()
    return scores


def _percentile(scores: Iterable[NDArray[np.float32]], count: int, percent: int) -> float:
    """Find a percentile as `numpy.percentile` does: between the two scores around it in proportion."""
    below, part = divmod((count - 1) * percent, 100)
    lower = float(kth_smallest(scores, below))
    return lower + part / 100 * (float(kth_smallest(scores, below + 1)) - lower) if part else lower
