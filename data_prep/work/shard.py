"""What a worker makes of a unit: a folder that appears whole or not at all, and an account of its records."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import orjson

from custom_modules.errors import UserError
from custom_modules.file_writer import FileWriter
from custom_modules.files import explained
from data_prep.input.damage import unreadable
from data_prep.input.documents import Damage, Document, Rejection, Removal
from data_prep.input.input_files import InputFile
from data_prep.input.readers import lines_before, read_segment
from data_prep.input.units import Segment, Unit

RECORD = "record.json"
"""The file with a shard's counts."""
OnError = Literal["skip", "raise"]
"""``data.on_error``."""

_REJECTIONS_KEPT = 20
_NAMED = 20


@dataclass
class SegmentCount:
    """What became of a segment's records: ``read = documents + skipped + removed``."""

    read: int = 0
    documents: int = 0
    skipped: int = 0
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    """Documents by step and reason."""
    removed_tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    """What those documents would have given, end tokens included, by step and reason."""
    rejections: list[tuple[int, str]] = field(default_factory=list)
    """Line within the segment, and reason, of the first few that were skipped."""
    damage: list[str] = field(default_factory=list)
    """Why it could not be read, whole or in part: no records of it are known."""
    warnings: list[str] = field(default_factory=list)
    """What is odd about the file and costs no text."""

    def reject(self, rejection: Rejection) -> None:
        self.skipped += 1
        if len(self.rejections) < _REJECTIONS_KEPT:
            self.rejections.append((rejection.line, rejection.reason))

    def note(self, damage: Damage) -> None:
        (self.damage if damage.is_lost else self.warnings).append(damage.reason)

    def remove(self, removal: Removal) -> None:
        reasons = self.removed.setdefault(removal.step, {})
        reasons[removal.reason] = reasons.get(removal.reason, 0) + 1

    @property
    def balance(self) -> int:
        """Records that nobody accounts for: 0, or documents were lost."""
        return self.read - self.documents - self.skipped - sum(sum(r.values()) for r in self.removed.values())


Count = TypeVar("Count", bound=SegmentCount)


def add_up(counts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Sums by step and reason."""
    total: dict[str, dict[str, int]] = {}
    for removed in counts:
        for step, reasons in removed.items():
            for reason, number in reasons.items():
                of_step = total.setdefault(step, {})
                of_step[reason] = of_step.get(reason, 0) + number
    return total


def read_unit(
    unit: Unit, counts: Sequence[SegmentCount], text_key: str, url_key: str | None = None, on_error: OnError = "skip"
) -> Iterator[tuple[Segment, SegmentCount, Document]]:
    """Yield a unit's documents with their segments and counts, which count what is read, rejected or damaged.

    Args:
        text_key, url_key: as `data_prep.input.readers.read_segment` has them.

    Raises:
        UserError: a bad record where ``on_error`` is ``raise``.
    """
    for segment, count in zip(unit, counts, strict=True):
        for record in read_segment(segment, text_key, url_key):
            if isinstance(record, Damage):
                count.note(record)
                continue
            count.read += 1
            if isinstance(record, Document):
                yield segment, count, record
            elif on_error == "raise":
                raise fatal(segment, record)
            else:
                count.reject(record)


def write_record(folder: Path, counts: Sequence[SegmentCount]) -> None:
    """Put the counts of a shard into its folder.

    Raises:
        UserError: they cannot be written.
    """
    record = FileWriter(folder / RECORD)
    record.write(orjson.dumps([asdict(count) for count in counts]))
    record.finish()


def keep_only(folder: Path, keys: Set[str]) -> None:
    """Make the folder of shards, and remove what other options or a killed run have left in it.

    Args:
        keys: of the shards that stay.

    Raises:
        UserError: something cannot be made or removed.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            if left.name not in keys:
                shutil.rmtree(left)


def find_shard(folder: Path, key: str) -> list[SegmentCount] | None:
    """The record of a shard that an earlier run finished; None where there is none."""
    return find_counts(folder, key, SegmentCount)


def find_counts(folder: Path, key: str, kind: type[Count]) -> list[Count] | None:
    """`find_shard` of a shard with counts of a kind."""
    try:
        record = orjson.loads((folder / key / RECORD).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return [kind(**segment) for segment in record]


def find_finished(folder: Path, key: str) -> list[SegmentCount] | None:
    """The record of a shard that need not be made again: `find_shard` of one all of whose files could be read.

    A file may be mended without a trace, by another right to read it or a disk that answers again.
    """
    return find_undamaged(folder, key, SegmentCount)


def find_undamaged(folder: Path, key: str, kind: type[Count]) -> list[Count] | None:
    """`find_finished` of a shard with counts of a kind."""
    counts = find_counts(folder, key, kind)
    return None if counts is None or any(count.damage for count in counts) else counts


def in_segments(units: Sequence[Unit], counts: Sequence[Sequence[Count]]) -> list[tuple[Segment, Count]]:
    """Return every segment of the units with its count."""
    return [pair for unit, of_unit in zip(units, counts, strict=True) for pair in zip(unit, of_unit, strict=True)]


def fatal(segment: Segment, rejection: Rejection) -> UserError:
    """Make the error of ``data.on_error=raise``, which names the bad record by file and line."""
    place = file_and_line(segment, rejection.line)
    return UserError(f"{place}: {rejection.reason}; correct it, or leave such records out with data.on_error=skip")


def file_and_line(segment: Segment, line: int) -> str:
    """Return ``file:line`` of a line of a segment."""
    return f"{segment.file.shown}:{_lines_before(segment.file, [segment.start])[0] + line}"


def name_rejections(segments: Sequence[tuple[Segment, Count]]) -> list[str]:
    """Return the first skipped records, with their lines counted from the start of the file."""
    kept = [(segment, line, reason) for segment, counts in segments for line, reason in counts.rejections][:_NAMED]
    starts: dict[InputFile, list[int]] = {}
    for segment, _, _ in kept:
        starts.setdefault(segment.file, []).append(segment.start)
    before = {file: dict(zip(of_file, _lines_before(file, of_file), strict=True)) for file, of_file in starts.items()}
    return [
        f"{segment.file.shown}:{before[segment.file][segment.start] + line}: {reason}" for segment, line, reason in kept
    ]


def _lines_before(file: InputFile, starts: Sequence[int]) -> list[int]:
    try:
        return lines_before(file.path, starts)
    except OSError as error:
        raise UserError(f"{file.shown}: {unreadable(file.path, error).reason}; run the same command again") from None
