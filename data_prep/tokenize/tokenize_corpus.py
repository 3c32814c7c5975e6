"""All units of the input, tokenized by worker processes, and an account of every file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from data_prep.clean.filter_corpus import CleanUnit
from data_prep.input.input_files import DamagedFile, InputFile, Listing
from data_prep.input.units import Segment, Unit
from data_prep.tokenize.tokenize_shard import TokenizeOptions, tokenize_shard
from data_prep.work.damaged_files import find_damaged, find_warnings, refuse
from data_prep.work.progress import ProgressBar, count, say
from data_prep.work.shard import SegmentCount, add_up, find_finished, in_segments, keep_only, name_rejections
from data_prep.work.workers import Pool


@dataclass(frozen=True)
class TokenizedCorpus:
    """What the second pass and the manifest need to know."""

    shards: list[Path]
    """The folders of the shards, in the order of the units."""
    files: list[dict[str, Any]]
    """Path, bytes, modified_ns, sha256 (empty of one that can't be read), and of its records how many were read, kept
    (``documents``), skipped and ``removed`` by step and reason, these in tokens too (``removed_tokens``)."""
    skipped: int
    removed: dict[str, dict[str, int]]
    """Documents by step and reason."""
    first_skipped: list[str]
    """``file:line: reason`` of the first few."""
    damaged: list[DamagedFile]
    """All files that could not be read, whole or in part."""
    warnings: list[str]
    """What is odd about files and costs no text."""


def tokenize_corpus(
    units: Sequence[Unit],
    listing: Listing,
    cleaned: Sequence[CleanUnit] | None,
    options: TokenizeOptions,
    folder: Path,
    workers: Pool,
    meanwhile: Callable[[], None],
) -> TokenizedCorpus:
    """Make every shard that an earlier run has not left in a folder, and drop those that are out of date.

    Args:
        listing: the files of the units, and those that are of none.
        cleaned: what the steps have left of the units; None where there are no steps.
        meanwhile: called while the workers tokenize.

    Raises:
        UserError: a bad record when ``data.on_error=raise``, a file that cannot be read when
            ``data.on_damaged_file=fail``, one that changed meanwhile, or a full disk.
    """
    work: Sequence[Unit | CleanUnit] = units if cleaned is None else cleaned
    keys = [options.key(one) for one in work]
    sizes = [sum(segment.bytes for segment in unit) for unit in units]
    found = [find_finished(folder, key) for key in keys]
    missing = [index for index, counts in enumerate(found) if counts is None]
    keep_only(folder, {key for key, counts in zip(keys, found, strict=True) if counts is not None})
    if len(missing) < len(units):
        say(f"finished by an earlier run: {len(units) - len(missing):,} of {count(len(units), 'unit')}")
    progress = ProgressBar("tokenizing", sum(sizes), sum(sizes) - sum(sizes[index] for index in missing))
    calls = [(folder, keys[index], work[index], options) for index in missing]
    results = workers.run(tokenize_shard, calls)
    digests = workers.run(digest_or_none, ((Path(file.path),) for file in listing.files))
    meanwhile()
    for call, counts in results:
        found[missing[call]] = counts
        progress.add(sizes[missing[call]])
    progress.close()
    segments = in_segments(units, [counts or [] for counts in found])
    described = _describe(listing.files, segments, digests)
    damaged = [*listing.unreadable, *find_damaged(segments)]
    named = {file.path for file in damaged}
    unread = [file for file in described if not file["sha256"] and file["path"] not in named]
    damaged += [DamagedFile(file["path"], file["name"], "cannot be read a second time") for file in unread]
    if options.on_damaged_file == "fail":
        refuse(damaged)
    return TokenizedCorpus(
        shards=[folder / key for key in keys],
        files=described,
        skipped=sum(counts.skipped for _, counts in segments),
        removed=add_up(file["removed"] for file in described),
        first_skipped=name_rejections(segments),
        damaged=damaged,
        warnings=find_warnings(segments),
    )


def digest_or_none(path: Path) -> str:
    """Return a file's SHA-256; an empty string for one that cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _describe(
    files: Sequence[InputFile],
    segments: Sequence[tuple[Segment, SegmentCount]],
    digests: Iterable[tuple[int, str]],
) -> list[dict[str, Any]]:
    described: dict[str, dict[str, Any]] = {
        file.path: {
            "path": file.shown,
            "bytes": file.bytes,
            "modified_ns": file.modified_ns,
            "name": file.source,
            "sha256": "",
            "read": 0,
            "documents": 0,
            "skipped": 0,
            "removed": {},
            "removed_tokens": {},
        }
        for file in files
    }
    for segment, counts in segments:
        if counts.balance:
            raise UserError(
                f"{segment.file.shown}: {counts.balance} of {counts.read} records are neither kept, removed nor "
                "rejected; this is a fault of danube's: please report it"
            )
        file = described[segment.file.path]
        file["read"] += counts.read
        file["documents"] += counts.documents
        file["skipped"] += counts.skipped
        file["removed"] = add_up([file["removed"], counts.removed])
        file["removed_tokens"] = add_up([file["removed_tokens"], counts.removed_tokens])
    progress = ProgressBar("hashing the sources", sum(file.bytes for file in files))
    for index, digest in digests:
        described[files[index].path]["sha256"] = digest
        progress.add(files[index].bytes)
    progress.close()
    for before in files:
        if not _is_unchanged(before):
            raise UserError(f"{before.shown}: changed while it was read; run the same command again")
    return list(described.values())


def _is_unchanged(file: InputFile) -> bool:
    try:
        return InputFile.of(Path(file.path), file.source) == file
    except OSError:
        return False
