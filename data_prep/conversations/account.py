"""What became of every record of every file, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.data.chat_manifest import ChatManifest
from custom_modules.errors import UserError
from custom_modules.text import spelled
from data_prep.conversations.read_unit import RecordCount
from data_prep.conversations.sources import GivenSource
from data_prep.input.input_files import DamagedFile, InputFile, Listing
from data_prep.input.units import Segment, Unit
from data_prep.tokenize.tokenize_corpus import digest_or_none
from data_prep.work.damaged_files import find_damaged
from data_prep.work.progress import ProgressBar, count
from data_prep.work.shard import add_up, in_segments, name_rejections
from data_prep.work.workers import Pool


@dataclass(frozen=True)
class Account:
    """What the manifest says of the input."""

    files: list[dict[str, Any]]
    """Path, bytes, modified_ns, sha256 (empty of one that can't be read), and of its records how many were read, kept,
    joined to others, skipped and ``removed`` by step and reason; of those kept how many were cut, by what was cut."""
    skipped: int
    first_skipped: list[str]
    """``file:line: reason`` of the first few."""
    damaged: list[DamagedFile]


def account_for(
    listing: Listing, units: Sequence[Unit], counts: Sequence[Sequence[RecordCount]], workers: Pool
) -> Account:
    """Add up what became of the records of each file, and hash the files.

    Raises:
        UserError: records are neither kept nor dropped, or a file changed while it was read.
    """
    segments = in_segments(units, counts)
    described = {file.path: _described(file) for file in listing.files}
    for segment, counted in segments:
        if counted.balance:
            raise UserError(
                f"{segment.file.shown}: {counted.balance} of {counted.read} records are neither kept nor dropped; this "
                "is a fault of danube's: please report it"
            )
        file = described[segment.file.path]
        for key, number in (
            ("read", counted.read),
            ("kept", counted.documents),
            ("joined", counted.joined),
            ("skipped", counted.skipped),
        ):
            file[key] += number
        file["removed"] = add_up([file["removed"], counted.removed])
        file["cuts"] = _sum(file["cuts"], counted.cuts)
    progress = ProgressBar("hashing the sources", sum(file.bytes for file in listing.files))
    for index, digest in workers.run(digest_or_none, ((Path(file.path),) for file in listing.files)):
        described[listing.files[index].path]["sha256"] = digest
        progress.add(listing.files[index].bytes)
    progress.close()
    for before in listing.files:
        if not _is_unchanged(before):
            raise UserError(f"{before.shown}: changed while it was read; run the same command again")
    return Account(
        files=list(described.values()),
        skipped=sum(counted.skipped for _, counted in segments),
        first_skipped=name_rejections(segments),
        damaged=[*listing.unreadable, *find_damaged(segments)],
    )


def _described(file: InputFile) -> dict[str, Any]:
    counts = {"read": 0, "kept": 0, "joined": 0, "skipped": 0, "removed": {}, "cuts": {}}
    place = {"path": file.shown, "bytes": file.bytes, "modified_ns": file.modified_ns, "name": file.source}
    return {**place, "sha256": "", **counts}


def _is_unchanged(file: InputFile) -> bool:
    try:
        return InputFile.of(Path(file.path), file.source) == file
    except OSError:
        return False


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def nothing_left(given: Sequence[GivenSource], segments: Sequence[tuple[Segment, RecordCount]]) -> UserError:
    """Make the error of sources without anything to learn from, which says what became of all that was read."""
    where = " ".join(f"{source.key}.path={spelled(source.path)}" for source in given)
    removed = add_up(counted.removed for _, counted in segments)
    reasons = [f"{reason}: {number:,}" for of_step in removed.values() for reason, number in of_step.items()]
    return UserError("; ".join([f"{where}: nothing to learn from in it", *name_rejections(segments)[:1], *reasons]))


def summary(manifest: ChatManifest) -> Iterator[str]:
    """Say what was prepared: a line for each source, and each reason for which records were dropped."""
    for name, files in by_source(manifest).items():
        read, kept, joined = (sum(file[key] for file in files) for key in ("read", "kept", "joined"))
        trained, held = (manifest.splits[split].sources[name] for split in manifest.splits)
        together = f", {joined:,} of them parts of others" if joined else ""
        yield f"{name}: {count(read, 'record')} read{together}, {trained:,} to train on and {held:,} held out"
        wanted = next(one["max_samples"] for one in manifest.options["sources"] if one["name"] == name)
        if wanted is not None and trained < wanted:
            yield f"  data.sources.{name}.max_samples={wanted}: it has {trained:,} only"
        for reason, number in dropped(files).items():
            yield f"  {reason}: {number:,}"
        for cut, number in cuts(files).items():
            yield f"  too long, {cut}: {number:,} of {kept:,}"
    yield from (f"skipped {line}" for line in manifest.skipped["first"])
    for split, entry in manifest.splits.items():
        yield f"{split}: {count(entry.samples, 'sample')}, {entry.tokens:,} tokens, the longest has {entry.longest:,}"


def by_source(manifest: ChatManifest) -> dict[str, list[dict[str, Any]]]:
    """Return the described files of each source, in the order of the sources."""
    files: dict[str, list[dict[str, Any]]] = {one["name"]: [] for one in manifest.options["sources"]}
    for file in manifest.sources:
        files[file["name"]].append(file)
    return files


def dropped(files: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many records of some files were dropped, by reason; most first."""
    total: dict[str, int] = {}
    for reasons in add_up(file["removed"] for file in files).values():
        total = _sum(total, reasons)
    if skipped := sum(file["skipped"] for file in files):
        total["cannot be read"] = skipped
    return dict(sorted(total.items(), key=lambda one: (-one[1], one[0])))


def cuts(files: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many samples of some files were cut, by what was cut."""
    total: dict[str, int] = {}
    for file in files:
        total = _sum(total, file["cuts"])
    return dict(sorted(total.items()))
