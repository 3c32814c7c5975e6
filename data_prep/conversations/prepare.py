"""``danube prepare`` of conversations and pairs: published sets in, samples for `danube sft` and `danube dpo` out.

Two passes over units of the input, by worker processes, each unit's result published whole, so that a killed run loses
at most the units in work. The first one reads, and says of each candidate what tells copies and splits; then those to
train on and to hold out are chosen; the second reads again and writes samples. They are joined in the order of the
sources, renamed into place, and the manifest is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.config.dpo import DpoConfig
from custom_modules.config.sft import SftConfig
from custom_modules.data import layout
from custom_modules.data.chat_manifest import SPLITS, ChatManifest, FileEntry, find_chat_manifest
from custom_modules.data.users import users_of
from custom_modules.errors import UserError
from custom_modules.files import explained
from custom_modules.folder_lock import folder_lock
from custom_modules.made import claim
from custom_modules.system import allow_open_files, usable_cores
from data_prep.conversations import manifest
from data_prep.conversations.account import Account, account_for, nothing_left, summary
from data_prep.conversations.card import write_card
from data_prep.conversations.choice import choose
from data_prep.conversations.read_unit import ReadOptions, RecordCount, read_unit
from data_prep.conversations.request import Request
from data_prep.conversations.sample_files import join
from data_prep.conversations.sources import Source, find_sources
from data_prep.conversations.tokenizers import find_tokenizer
from data_prep.conversations.write_unit import WriteOptions, import_for_writing, write_unit
from data_prep.input.input_files import Listing
from data_prep.input.units import Unit
from data_prep.output.card import has_card
from data_prep.output.ownership import check_targets, clear_work, note, owned
from data_prep.output.publish import publish
from data_prep.output.users import check_users, forget, name_losers
from data_prep.steps.filter_shard import REMOVED
from data_prep.work.damaged_files import damage_lines, find_damaged, passed_over_lines, refuse
from data_prep.work.progress import ProgressBar, count, say
from data_prep.work.shard import find_undamaged, in_segments, keep_only
from data_prep.work.workers import Pool, Workers, stop_signals

Call = TypeVar("Call", bound=tuple[object, ...])


@dataclass(frozen=True)
class _Work:
    """The units of all sources in their order, with the number of each one's source."""

    units: list[Unit]
    sources: list[int]


def run(config: SftConfig | DpoConfig, replace: bool = False) -> ChatManifest:
    """Prepare ``data.dir`` from ``data.sources``, or say that it is up to date.

    Args:
        replace: even where a run was started on the data that is there, and can then not go on.

    Raises:
        UserError: a mistake in the config or the input, somebody else's files where this would write, a run that would
            lose its data, a full disk, or another ``prepare`` on the same folder.
        PassingError: a hub that does not answer.
        StoppedBySignal: SIGINT or SIGTERM; the same command goes on from the last finished unit.
    """
    request = Request.of(config)
    directory = request.directory
    request.check_inputs(config.model.tokenizer.model)
    with explained(None), folder_lock(directory, "data.dir"), stop_signals():
        check_targets(directory, request.targets())
        tokenizer = find_tokenizer(config)
        sources, listing = find_sources(request.sources, request.kind, directory)
        existing = find_chat_manifest(directory)
        if manifest.is_current(existing, request.options(sources), request.kind, listing.files, tokenizer):
            assert existing is not None
            say(f"{directory} is up to date with {count(len(existing.sources), 'source file')}")
            prepared = existing
        else:
            if manifest.is_other(existing, request.options(sources), request.kind, tokenizer):
                check_users(directory, None, replace)
            prepared = _prepare(request, sources, listing, tokenizer, replace)
        clear_work(directory / layout.WORK)
        if prepared is not existing or not has_card(directory):
            write_card(request.name, prepared)
    if prepared is not existing:
        for line in summary(prepared):
            say(line)
    return prepared


def _prepare(
    request: Request, sources: Sequence[Source], listing: Listing, tokenizer: ChatTokenizer, replace: bool
) -> ChatManifest:
    directory, work = request.directory, request.directory / layout.WORK
    for line in passed_over_lines(listing.passed_over):
        say(line)
    if request.on_damaged_file == "fail":
        refuse(listing.unreadable)
    note(directory, owned(directory))
    claim(work, "danube prepare")
    allow_open_files()
    cut = [source.units(request.shard_bytes) for source in sources]
    todo = _Work([unit for units in cut for unit in units], [n for n, units in enumerate(cut) for _ in units])
    size = sum(file.bytes for file in listing.files) / 1e6
    say(f"{count(len(listing.files), 'source file')}, {size:,.1f} MB")
    datasets = work / "datasets"
    files = _save(tokenizer, datasets / layout.TOKENIZER)
    with Workers(request.workers or usable_cores()) as workers:
        workers.warm_up(import_for_writing)
        folders = _read(request, sources, todo, listing, work / "read", workers)
        choices = choose(folders, todo.sources, request.drawing)
        shards, counts = _write(request, sources, todo, choices, tokenizer, datasets / layout.TOKENIZER, work, workers)
        account = account_for(listing, todo.units, counts, workers)
    if request.on_damaged_file == "fail":
        refuse(account.damaged)
    for line in damage_lines(account.damaged):
        say(line)
    built = _join(request, sources, todo, shards, account, tokenizer, files, datasets)
    digest = built.digest()
    losers = [user for user in users_of(directory) if {*user.stages.values()} != {digest}]
    name_losers(directory, losers, replace)
    publish(built, datasets)
    forget(directory, losers)
    return built


def _save(tokenizer: ChatTokenizer, folder: Path) -> dict[str, FileEntry]:
    """Write the tokenizer, and return what its files have become."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        tokenizer.save(folder)
        return manifest.entries_of(folder)


def _read(
    request: Request,
    sources: Sequence[Source],
    todo: _Work,
    listing: Listing,
    folder: Path,
    workers: Pool,
) -> list[Path]:
    """The first pass; returns the folder of each unit."""
    options = [ReadOptions(sources[number].reader, request.on_error) for number in todo.sources]
    keys = [option.key(unit) for option, unit in zip(options, todo.units, strict=True)]
    calls = [(folder, key, unit, option) for key, unit, option in zip(keys, todo.units, options, strict=True)]
    counts = _run("reading", read_unit, folder, keys, todo.units, calls, workers)
    if request.on_damaged_file == "fail":
        refuse([*listing.unreadable, *find_damaged(in_segments(todo.units, counts))])
    if not any(one.documents for counted in counts for one in counted):
        raise nothing_left(request.sources, in_segments(todo.units, counts))
    return [folder / key for key in keys]


def _write(
    request: Request,
    sources: Sequence[Source],
    todo: _Work,
    choices: Sequence[NDArray[np.uint8]],
    tokenizer: ChatTokenizer,
    saved: Path,
    work: Path,
    workers: Pool,
) -> tuple[list[Path], list[list[RecordCount]]]:
    """The second pass; returns the folder of each unit, and the counts of its segments."""
    folder = work / "units"
    options = [
        WriteOptions(
            kind=request.kind,
            read=ReadOptions(sources[number].reader, request.on_error),
            system=sources[number].given.system,
            length=request.length,
            tokenizer=str(saved),
            tokenizer_sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
        )
        for number in todo.sources
    ]
    chosen = [choice.tobytes() for choice in choices]
    keys = [option.key(unit, choice) for option, unit, choice in zip(options, todo.units, chosen, strict=True)]
    calls = [
        (folder, key, unit, choice, option)
        for key, unit, choice, option in zip(keys, todo.units, chosen, options, strict=True)
    ]
    counts = _run("encoding", write_unit, folder, keys, todo.units, calls, workers)
    return [folder / key for key in keys], counts


def _run(
    title: str,
    function: Callable[..., list[RecordCount]],
    folder: Path,
    keys: Sequence[str],
    units: Sequence[Unit],
    calls: Sequence[Call],
    workers: Pool,
) -> list[list[RecordCount]]:
    """Make the folders of units that an earlier run has not left, and drop those that are out of date."""
    found = [find_undamaged(folder, key, RecordCount) for key in keys]
    missing = [index for index, counts in enumerate(found) if counts is None]
    keep_only(folder, {key for key, counts in zip(keys, found, strict=True) if counts is not None})
    if len(missing) < len(units):
        say(f"{title}: finished by an earlier run: {len(units) - len(missing):,} of {count(len(units), 'unit')}")
    sizes = [sum(segment.bytes for segment in unit) for unit in units]
    progress = ProgressBar(title, sum(sizes), sum(sizes) - sum(sizes[index] for index in missing))
    for number, counts in workers.run(function, [calls[index] for index in missing]):
        found[missing[number]] = counts
        progress.add(sizes[missing[number]])
    progress.close()
    return [counts or [] for counts in found]


def _join(
    request: Request,
    sources: Sequence[Source],
    todo: _Work,
    shards: Sequence[Path],
    account: Account,
    tokenizer: ChatTokenizer,
    files: dict[str, FileEntry],
    datasets: Path,
) -> ChatManifest:
    splits = manifest.splits_of([source.given.name for source in sources], todo.sources, shards)
    for split in SPLITS:
        if not splits[split].samples:
            total = sum(entry.samples for entry in splits.values())
            change = "raise it" if split == "validation" else "lower it"
            raise UserError(
                f"data.validation_fraction={request.validation_fraction}: nothing to {_PURPOSE[split]} of "
                f"{count(total, 'sample')}; give more, or {change}"
            )
        splits[split].files.update(join(shards, datasets, split, request.kind, tokenizer.vocab_size))
    with explained(datasets):
        removed = datasets / layout.REMOVED
        removed.mkdir(exist_ok=True)
        for left in removed.iterdir():
            left.unlink()
        for number, shard in enumerate(shards):
            (removed / f"{number:05d}.jsonl.zst").write_bytes((shard / REMOVED).read_bytes())
    return manifest.build(request, request.options(sources), splits, tokenizer, files, account)


_PURPOSE = {"train": "train on", "validation": "hold out"}
