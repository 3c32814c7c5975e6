"""A unit's documents through every step, in a folder of their own that appears whole or not at all.

``documents.jsonl.zst`` has what was kept, ``removed.jsonl.zst`` every removed document with the reason, ``digests.bin``
what `data_prep.deduplicate.exact` compares, ``record.json`` a `SegmentCount` per segment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from data_prep.deduplicate.exact import digest
from data_prep.documents import Document, Removal, Step, apply_steps
from data_prep.files import HashedWriter, explained
from data_prep.part_folder import SegmentCount, fatal, published_part
from data_prep.readers import read_segment
from data_prep.units import Segment, Unit

_FORMAT = 1
_BATCH = 64
KEPT = "documents.jsonl.zst"
REMOVED = "removed.jsonl.zst"
DIGESTS = "digests.bin"


@dataclass(frozen=True)
class FilterOptions:
    """All that defines the outcome beside the unit."""

    text_key: str
    url_key: str
    on_error: Literal["skip", "raise"]
    steps: tuple[Step, ...]

    def key(self, unit: Unit) -> str:
        """The name of a unit's folder: another for other options, another version of a step or a changed source."""
        defining = {
            "text_key": self.text_key,
            "url_key": self.url_key,
            "on_error": self.on_error,
            "format": _FORMAT,
            "steps": [(step.name, dict(step.options)) for step in self.steps],
            "unit": [asdict(segment) for segment in unit],
        }
        return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


def filter_unit(folder: Path, key: str, unit: Unit, options: FilterOptions) -> list[SegmentCount]:
    """Read a unit, apply the steps, and publish ``folder/key``.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, or a file that cannot be written.
    """
    counts = [SegmentCount() for _ in unit]
    with published_part(folder, key) as aside, ExitStack() as stack:
        kept = stack.enter_context(DocumentWriter(aside / KEPT))
        removed = stack.enter_context(DocumentWriter(aside / REMOVED))
        digests = HashedWriter(aside / DIGESTS)
        for batch in _batches(unit, counts, options):
            outcomes = apply_steps([document for _, _, document in batch], options.steps)
            for (segment, count, document), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Removal):
                    count.remove(outcome)
                    removed.write(removed_record(segment, document, outcome))
                else:
                    count.documents += 1
                    kept.write(asdict(outcome))
                    digests.write(digest(outcome.text))
        digests.finish()
        record_file = HashedWriter(aside / "record.json")
        record_file.write(orjson.dumps([asdict(count) for count in counts]))
        record_file.finish()
    return counts


def _batches(
    unit: Unit, counts: Sequence[SegmentCount], options: FilterOptions
) -> Iterator[list[tuple[Segment, SegmentCount, Document]]]:
    """Documents with where they are from and are counted, always the same ones together; counts what it rejects."""
    batch: list[tuple[Segment, SegmentCount, Document]] = []
    for segment, count in zip(unit, counts, strict=True):
        for record in read_segment(segment, options.text_key, options.url_key):
            count.read += 1
            if isinstance(record, Document):
                batch.append((segment, count, record))
                if len(batch) == _BATCH:
                    yield batch
                    batch = []
            elif options.on_error == "raise":
                raise fatal(segment, record)
            else:
                count.reject(record)
    if batch:
        yield batch


def removed_record(segment: Segment, document: Document, removal: Removal) -> dict[str, Any]:
    """What is kept of a removed document. Its line counts from ``segment_start``, a byte (row group) of the file."""
    place = {"source": segment.source.path, "segment_start": segment.start}
    return {**place, **asdict(document), **asdict(removal)}


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

    Raises:
        UserError: from every method, when the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow

        self._path = path
        with explained(path):
            self._file = path.open("wb")
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
