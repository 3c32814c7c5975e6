"""A unit's documents through every step, in a folder of their own that appears whole or not at all.

``documents.jsonl.zst`` has what was kept, ``removed.jsonl.zst`` every removed document with the reason, ``digests.bin``
what `data_prep.across.exact` compares, ``record.json`` a `SegmentCount` per segment. Where the last step has a
``keep_quantile``, ``scores.bin`` has its score of each document: [documents], float32.
"""

from __future__ import annotations

import hashlib
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from custom_modules.file_writer import FileWriter
from custom_modules.files import explained, whole_folder
from data_prep.input.documents import Document, Removal, ScoringStep, Step, apply_steps, digest
from data_prep.input.units import Segment, Unit
from data_prep.work.damaged_files import OnDamagedFile
from data_prep.work.shard import OnError, SegmentCount, find_shard, read_unit, write_record

_FORMAT = 3
_BATCH = 64
KEPT = "documents.jsonl.zst"
REMOVED = "removed.jsonl.zst"
DIGESTS = "digests.bin"
SCORES = "scores.bin"

Found = tuple[Segment, SegmentCount, Document]
"""A document with where it is from and where it is counted."""


@dataclass(frozen=True)
class FilterOptions:
    """All that defines the outcome beside the unit."""

    text_key: str
    url_key: str
    on_error: OnError
    steps: tuple[Step, ...]
    on_damaged_file: OnDamagedFile = "fail"
    """What becomes of the run, not of a unit: what can be read of it is kept either way."""

    @property
    def to_cut(self) -> ScoringStep | None:
        """The last step, if a fraction of its documents is to be kept."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, ScoringStep) and last.keep_quantile is not None else None

    def key(self, unit: Unit, before: Path | None = None, attempt: int = 0) -> str:
        """The name of a unit's folder: another for other options, another version of a step or a changed source.

        Args:
            before: as `filter_shard` has it.
            attempt: how often it was made of a file that could not be read: another time it may give more.
        """
        defining = {
            "text_key": self.text_key,
            "url_key": self.url_key,
            "on_error": self.on_error,
            "format": _FORMAT,
            "steps": [(step.name, dict(step.options)) for step in self.steps],
            "unit": [segment.identity for segment in unit],
            "before": before and before.name,
            "attempt": attempt,
        }
        return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


def filter_shard(
    folder: Path, key: str, unit: Unit, options: FilterOptions, before: Path | None = None
) -> list[SegmentCount]:
    """Read a unit, apply the steps, and publish ``folder/key``.

    Args:
        before: what this function made of the unit with the steps before these: it is read instead of the sources,
            and what was removed and counted there is here, too.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, or a file that cannot be written.
    """
    counts = [SegmentCount() for _ in unit] if before is None else find_shard(before.parent, before.name)
    assert counts is not None
    fresh = (unit, counts, options.text_key, options.url_key, options.on_error)
    found = read_unit(*fresh) if before is None else _read_again(unit, counts, before)
    to_cut = options.to_cut
    with whole_folder(folder / key, replace=True) as aside, ExitStack() as stack:
        kept = stack.enter_context(DocumentWriter(aside / KEPT))
        removed = stack.enter_context(DocumentWriter(aside / REMOVED, behind=before and before / REMOVED))
        digests = FileWriter(aside / DIGESTS)
        scores = FileWriter(aside / SCORES) if to_cut else None
        for batch in _batches(found):
            outcomes = apply_steps([document for _, _, document in batch], options.steps)
            for (segment, count, document), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Removal):
                    count.remove(outcome)
                    removed.write(removed_record(segment, document, outcome))
                else:
                    count.documents += 1
                    kept.write(asdict(outcome))
                    digests.write(digest(outcome.text))
                    if to_cut and scores:
                        scores.write(np.float32(outcome.scores[to_cut.name]).tobytes())
        digests.finish()
        if scores:
            scores.finish()
        write_record(aside, counts)
    return counts


def _read_again(unit: Unit, counts: Sequence[SegmentCount], before: Path) -> Iterator[Found]:
    """The documents that were kept, which count as kept no more."""
    ends = list(accumulate(count.documents for count in counts))
    for count in counts:
        count.documents = 0
    for index, document in enumerate(read_kept(before)):
        segment = bisect_right(ends, index)
        yield unit[segment], counts[segment], document


def _batches(found: Iterator[Found]) -> Iterator[list[Found]]:
    """Always the same ones together."""
    while batch := list(islice(found, _BATCH)):
        yield batch


def removed_record(segment: Segment, document: Document, removal: Removal) -> dict[str, Any]:
    """What is kept of a removed document. Its line counts from ``segment_start``, a byte (row group) of the file."""
    place = {"source": segment.file.shown, "segment_start": segment.start}
    return {**place, **asdict(document), **asdict(removal), "scores": {**document.scores, **removal.scores}}


def read_kept(folder: Path) -> Iterator[Document]:
    """The documents that a unit's steps kept, in order."""
    for line in read_lines(folder / KEPT):
        yield Document(**orjson.loads(line))


def read_lines(path: Path) -> Iterator[bytes]:
    """Lines of a ``.zst`` file."""
    import io

    import pyarrow

    stream: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")
    with io.BufferedReader(stream, 1 << 20) as lines:
        yield from lines


class DocumentWriter:
    """JSON lines into a new ``.zst`` file; as a context manager it is on the disk when the context closes.

    Args:
        behind: such a file whose lines come first.

    Raises:
        UserError: from every method, when the file cannot be written.
    """

    def __init__(self, path: Path, behind: Path | None = None) -> None:
        import pyarrow

        self._path = path
        with explained(path):
            self._file = path.open("wb")
            if behind is not None:
                with behind.open("rb") as first:
                    shutil.copyfileobj(first, self._file)
        self._stream = pyarrow.CompressedOutputStream(pyarrow.PythonFile(self._file, "w"), "zstd")

    def write(self, record: dict[str, Any]) -> None:
        with explained(self._path):
            self._stream.write(orjson.dumps(record) + b"\n")

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with explained(self._path):
                self._stream.close()
                self._file.close()
