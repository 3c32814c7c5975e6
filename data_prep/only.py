"""``danube prepare --only STEP``: one step on a folder of texts; what it keeps, and what it removes beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from custom_modules.config.schema import TEXT, Config
from custom_modules.data import layout
from custom_modules.data_steps.find import find_step
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_folder
from custom_modules.folder_lock import folder_lock
from custom_modules.made import check_claimable, check_replaceable, claim, note_files
from data_prep.builtin.inputs import collect_builtin, inputs_of, list_files
from data_prep.clean.build import Steps, build_steps
from data_prep.clean.filter_corpus import CleanUnit, filter_corpus
from data_prep.input.documents import Document, Removal
from data_prep.input.json_lines import WholeRecord
from data_prep.input.readers import read_whole_records
from data_prep.input.units import Segment, split_units
from data_prep.output.ownership import check_inputs, clear_work, note, owned
from data_prep.output.summary import reading_lines
from data_prep.steps.filter_shard import REMOVED, FilterOptions, read_kept, read_lines
from data_prep.work.damaged_files import examine, find_damaged, find_warnings
from data_prep.work.executors import open_workers
from data_prep.work.progress import count, say
from data_prep.work.shard import in_segments, name_rejections
from data_prep.work.workers import stop_signals

NOTE = "danube"
"""The field that is added to a record: ``step``, ``reason`` and ``detail`` where it was removed, ``scores`` that models
gave it, what is ``left`` of a changed text, and the ``source`` where the config has several."""


def run_step(config: Config, name: str) -> Path:
    """Run one step on the texts of ``data.input``, whatever other steps are on.

    Writes ``data.dir/only/<step>/``: ``kept.jsonl``, the records as they came with what the step has left of their
    text; ``removed.jsonl``, those it removed; ``changed.jsonl``, those it kept a part of, as they came. The folder
    appears whole, in place of an earlier one.

    Returns:
        The folder.

    Raises:
        UserError: no such step, a mistake in the config or the input, or a full disk.
        StoppedBySignal: SIGINT or SIGTERM; the same command goes on from the last finished unit.
    """
    step = find_step(name, "--only")
    inputs = inputs_of(config)
    steps = build_steps({step.name: config.data.steps.chosen.get(step.name, {})})
    directory = Path(config.data.dir)
    check_inputs(config, inputs)
    target = directory / layout.ONLY / step.name
    work = target.with_name(f"{step.name}.work")
    check_replaceable(target, "what `danube prepare --only` made")
    check_claimable(work, "danube prepare --only")
    with explained(None), folder_lock(directory, "data.dir"), stop_signals():
        note(directory, owned(directory))
        claim(work, "danube prepare --only")
        cleaned = _clean(config, inputs, steps, directory, work)
        with whole_folder(target, replace=True, alone=True) as aside:
            kept, reasons = _write(cleaned, config, aside)
            note_files(aside)
        clear_work(work)
    say(f"{step.name}: {count(kept, 'document')} kept, {sum(reasons.values()):,} removed; see {target}")
    for reason, number in reasons.most_common():
        say(f"  {number:,}  {reason}")
    return target


def _clean(config: Config, inputs: dict[str, list[str]], steps: Steps, directory: Path, work: Path) -> list[CleanUnit]:
    data = config.data
    with open_workers(config, work / "tasks") as workers:
        corpus = collect_builtin(inputs, directory / layout.RAW, data.text_key, workers)
        listing = list_files(inputs, corpus, directory, data.text_key)
        examine(listing, data.on_damaged_file, data.text_key, data.url_key)
        units = split_units(listing.files, data.shard_bytes)
        options = FilterOptions(data.text_key, data.url_key, data.on_error, steps.alone, data.on_damaged_file)
        cleaned = filter_corpus(units, options, steps.across, work, workers)
    segments = in_segments(units, [unit.counts for unit in cleaned])
    damaged = [*listing.unreadable, *find_damaged(segments)]
    skipped = sum(counts.skipped for _, counts in segments)
    for line in reading_lines(damaged, find_warnings(segments), skipped, name_rejections(segments)):
        say(line)
    if not sum(counts.read - counts.skipped for _, counts in segments):
        raise UserError(f"data.input={data.input}: no document in it; give text")
    return cleaned


def _write(cleaned: Sequence[CleanUnit], config: Config, folder: Path) -> tuple[int, Counter[str]]:
    """Write the three files.

    Returns:
        How many documents are kept, and how many are removed by reason.
    """
    kept, reasons = 0, Counter[str]()
    key = config.data.text_key
    paths = (folder / f"{name}.jsonl" for name in ("kept", "removed", "changed"))
    kept_file, removed_file, changed_file = (path.open("wb") for path in paths)
    with kept_file, removed_file, changed_file:
        for segment, record, outcome in _outcomes(cleaned, key):
            note: dict[str, Any] = {} if segment.file.source == TEXT else {"source": segment.file.source}
            if outcome.scores:
                note["scores"] = outcome.scores
            if isinstance(outcome, Removal):
                reasons[outcome.reason] += 1
                said = {"step": outcome.step, "reason": outcome.reason, "detail": outcome.detail}
                _append(removed_file, record, said | note)
                continue
            kept += 1
            _append(kept_file, record, note, {key: outcome.text})
            if record.fields.get(key, outcome.text) != outcome.text:
                _append(changed_file, record, {"left": outcome.text})
    return kept, reasons


def _append(
    file: BinaryIO, record: WholeRecord, note: dict[str, Any], changes: Mapping[str, str] | None = None
) -> None:
    whole = {**record.fields, **(changes or {}), **({NOTE: note} if note else {})}
    if record.is_standard:
        file.write(orjson.dumps(whole, default=str, option=orjson.OPT_APPEND_NEWLINE))
    else:
        file.write(json.dumps(whole).encode() + b"\n")


def _outcomes(cleaned: Sequence[CleanUnit], text_key: str) -> Iterator[tuple[Segment, WholeRecord, Document | Removal]]:
    """The documents in the order of the input: the record as it came, and what became of it."""
    for unit in cleaned:
        removed, dropped = _removed(unit), unit.drops.in_turn()
        kept = enumerate(read_kept(unit.folder))
        ends = accumulate(counts.documents for counts in unit.counts)
        begin = 0
        for segment, end in zip(unit.unit, ends, strict=True):
            left = end - begin
            begin = end
            index, document = next(kept) if left else (-1, None)
            for record in read_whole_records(segment, text_key):
                place = segment.file.shown, segment.start, record.line
                if place in removed:
                    yield segment, record, removed[place]
                elif document is not None and document.line == record.line:
                    yield segment, record, dropped(index) or document
                    left -= 1
                    index, document = next(kept) if left else (-1, None)
            if left:
                raise UserError(f"{segment.file.shown}: changed while it was read; run the same command again")


def _removed(unit: CleanUnit) -> dict[tuple[str, int, int], Removal]:
    """What the step removed of a unit by file, start of the segment, and line."""
    records = map(orjson.loads, read_lines(unit.folder / REMOVED))
    return {
        (record["source"], record["segment_start"], record["line"]): Removal(
            record["step"], record["reason"], record["detail"], record["scores"]
        )
        for record in records
    }
