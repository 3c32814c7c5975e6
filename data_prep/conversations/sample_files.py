"""The files of samples: those of a unit, written as a stream, and those of all units, joined in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.chat_manifest import DATASETS, PAIRS, SPLITS, FileEntry
from custom_modules.data.index import IndexedDatasetWriter, token_dtype
from custom_modules.file_writer import FileWriter
from custom_modules.files import explained, sha256_of, sync
from data_prep.conversations.lengths import CutPair, Sample
from data_prep.conversations.messages import Kind, Message, assistant

SPLIT_NAMES: Mapping[int, str] = dict(enumerate(SPLITS))
"""By the `Choice` of a candidate."""
_LENGTHS = "lengths"
_ROWS = 1_000
_AT_ONCE = 1 << 22
"""Tokens that are joined at a time, about."""


@dataclass
class SplitCount:
    """What a split has."""

    samples: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    longest: int = 0

    def add(self, other: SplitCount) -> None:
        self.samples += other.samples
        self.tokens += other.tokens
        self.answer_tokens += other.answer_tokens
        self.longest = max(self.longest, other.longest)


class UnitWriter(Protocol):
    """Writes the samples of a unit that are of one split."""

    def write(self, sample: Any) -> Sequence[str]:
        """Append one, and return what was cut of it."""

    def finish(self) -> SplitCount:
        """Put everything on the disk."""


def open_writers(folder: Path, kind: Kind, vocab_size: int) -> dict[str, UnitWriter]:
    """Open the files of each split in the folder of a unit."""
    if kind == "conversations":
        return {split: _SampleWriter(folder / split, token_dtype(vocab_size)) for split in SPLITS}
    return {split: _PairWriter(folder / split) for split in SPLITS}


class _SampleWriter:
    """Writes ids, answers and lengths one behind another."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        with explained(folder):
            folder.mkdir()
        self._dtype = dtype
        self._tokens, self._answers, self._lengths = (FileWriter(folder / name) for name in (*DATASETS, _LENGTHS))
        self._count = SplitCount()

    def write(self, sample: Sample) -> Sequence[str]:
        size, answers = len(sample.ids), sum(sample.answers)
        self._tokens.write(np.array(sample.ids, self._dtype).tobytes())
        self._answers.write(bytes(sample.answers))
        self._lengths.write(np.int32(size).tobytes())
        self._count.add(SplitCount(1, size, answers, size))
        return sample.cuts

    def finish(self) -> SplitCount:
        for writer in (self._tokens, self._answers, self._lengths):
            writer.finish()
        return self._count


class _PairWriter:
    """Writes rows of messages."""

    def __init__(self, folder: Path) -> None:
        with explained(folder):
            folder.mkdir()
        self._file = _ParquetWriter(folder / PAIRS)
        self._count = SplitCount()

    def write(self, cut: CutPair) -> Sequence[str]:
        pair = cut.pair
        self._file.write(
            {
                "prompt": list(pair.prompt),
                "chosen": [assistant(pair.chosen)],
                "rejected": [assistant(pair.rejected)],
            }
        )
        self._count.add(SplitCount(1, sum(cut.tokens), 0, max(cut.tokens)))
        return cut.cuts

    def finish(self) -> SplitCount:
        self._file.finish()
        return self._count


class _ParquetWriter:
    """A Parquet file of pairs, the same bytes for the same rows."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        text = pyarrow.string()
        messages = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
        self._schema = pyarrow.schema([(name, messages) for name in ("prompt", "chosen", "rejected")])
        self._path = path
        self._rows: list[dict[str, list[Message]]] = []
        with explained(path):
            self._file = parquet.ParquetWriter(str(path), self._schema, compression="zstd")

    def write(self, row: dict[str, list[Message]]) -> None:
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow

        with explained(self._path):
            self._file.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()

    def finish(self) -> None:
        if self._rows:
            self._write_group()
        with explained(self._path):
            self._file.close()
            sync(self._path)


def join(shards: Sequence[Path], target: Path, split: str, kind: Kind, vocab_size: int) -> dict[str, FileEntry]:
    """Join what units have of a split, in their order.

    Args:
        shards: the folders of the units.
        target: the folder that gets a folder of the split's name.

    Returns:
        Each file by its path in ``target``.

    Raises:
        UserError: a file cannot be read or written.
    """
    folder = target / split
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if kind == "pairs":
        return _join_pairs(shards, folder)
    files = {}
    for name, dtype in zip(DATASETS, (token_dtype(vocab_size), np.dtype("uint8")), strict=True):
        writer = IndexedDatasetWriter(folder / name, dtype)
        for shard in shards:
            for tokens, lengths in _pieces(shard / split, name, dtype):
                writer.append(tokens, lengths)
        for suffix, written in zip(("bin", "idx"), writer.finish(), strict=True):
            files[f"{split}/{name}.{suffix}"] = FileEntry(written.bytes, written.sha256)
    return files


def _pieces(folder: Path, name: str, dtype: np.dtype[Any]) -> Iterator[tuple[NDArray[Any], NDArray[np.int32]]]:
    """Some samples at a time, so that memory is bounded whatever a unit holds."""
    with explained(folder):
        lengths = np.fromfile(folder / _LENGTHS, "<i4")
        ends = np.cumsum(lengths, dtype=np.int64)
        with (folder / name).open("rb") as file:
            begin = 0
            while begin < len(lengths):
                before = ends[begin] - lengths[begin]
                end = max(int(np.searchsorted(ends, before + _AT_ONCE, "right")), begin + 1)
                some = lengths[begin:end]
                yield np.fromfile(file, dtype, int(some.sum())), some
                begin = end


def _join_pairs(shards: Sequence[Path], folder: Path) -> dict[str, FileEntry]:
    from pyarrow import parquet

    path = folder / PAIRS
    writer = _ParquetWriter(path)
    for shard in shards:
        with explained(shard), parquet.ParquetFile(str(shard / folder.name / PAIRS)) as file:
            for batch in file.iter_batches(_ROWS, use_threads=False):
                for row in batch.to_pylist():
                    writer.write(row)
    writer.finish()
    with explained(path):
        return {f"{folder.name}/{PAIRS}": FileEntry(path.stat().st_size, sha256_of(path))}
