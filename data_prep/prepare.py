"""``danube prepare``: raw text in, one Megatron indexed dataset per stage and split out.

Two passes. In the first, worker processes tokenize units of the input into shards (in ``data.dir/prepare.work``), each
published whole, so that a killed run loses at most the units in work. In the second, the shards are joined in order.
The result is then renamed into place, and the manifest is written last. While it runs, the shards take as much room as
the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

from custom_modules.config.schema import TEXT, Config
from custom_modules.data import layout
from custom_modules.data.index import token_dtype
from custom_modules.data.manifest import Manifest, Part, load_manifest
from custom_modules.data.validation_limits import validation_problems
from custom_modules.data.verify import verify_part
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from custom_modules.folder_lock import folder_lock
from custom_modules.made import claim
from custom_modules.tokenizer import Tokenizer
from custom_modules.tokenizer.fast import fast_json, why_not_fast
from data_prep.builtin import builtin_corpus
from data_prep.builtin.inputs import collect_builtin, has_builtin, inputs_of, list_files
from data_prep.clean.build import Steps, build_steps
from data_prep.clean.filter_corpus import CleanUnit, filter_corpus, passes
from data_prep.input.units import Unit, split_units
from data_prep.output import manifest
from data_prep.output.card import has_card, write_card
from data_prep.output.merge import merge_shards
from data_prep.output.merge_record import keep_merged
from data_prep.output.ownership import check_inputs, check_places, clear_work, note, owned
from data_prep.output.publish import publish
from data_prep.output.removed import collect_removed, count_benchmark_hits
from data_prep.output.room import room_named
from data_prep.output.scores import add_scores
from data_prep.output.summary import nothing_left, reading_lines, table
from data_prep.output.taught import check_taught, with_taught
from data_prep.output.users import check_users, forget
from data_prep.steps.filter_shard import FilterOptions
from data_prep.tokenize.assignment import Assignment, Destination
from data_prep.tokenize.choose_tokenizer import choose_tokenizer, given_tokenizer
from data_prep.tokenize.shared_texts import NAME as SHARED
from data_prep.tokenize.shared_texts import SharedTexts, find_shared, share_lines
from data_prep.tokenize.tokenize_corpus import TokenizedCorpus, tokenize_corpus
from data_prep.tokenize.tokenize_shard import TokenizeOptions, load_encoder
from data_prep.tokenize.training_texts import read_texts, training_texts
from data_prep.work.damaged_files import examine
from data_prep.work.executors import open_workers
from data_prep.work.progress import count, say
from data_prep.work.workers import Pool, import_for_tokenizing, stop_signals

_CHECKED_UNITS = 4
_CHECKED_DOCUMENTS = 100
_CHECKED_CHARACTERS = 1_500


def run(config: Config, replace: bool = False) -> Manifest:
    """Prepare ``data.dir`` from ``data.input``, or say that it is up to date.

    Args:
        replace: even where a run was started on the data that is there, and can then not go on.

    Raises:
        UserError: a mistake in the config or the input, somebody else's files where this would write, a run that would
            lose its data, a full disk, or another ``prepare`` on the same folder.
        StoppedBySignal: SIGINT or SIGTERM; the same command goes on from the last finished unit.
    """
    inputs = inputs_of(config)
    steps = build_steps(config.data.steps.chosen)
    assignment = Assignment.from_config(config)
    for stage in config.curriculum.stages:
        if stage in (*layout.FOLDERS, layout.OLD_WORK) or "/" in stage:
            raise UserError(f"curriculum.stages.{stage}: a stage's data needs a folder of its own; use another name")
    directory = Path(config.data.dir)
    check_inputs(config, inputs)
    check_places(config, assignment, directory)
    with explained(None), folder_lock(directory, "data.dir"), stop_signals():
        current = _is_current(config, inputs, steps, directory)
        if not current:
            _prepare(config, inputs, steps, assignment, directory, replace)
        clear_work(directory / layout.WORK)
        prepared = load_manifest(config)
        if not (current and has_card(directory)):
            write_card(config, prepared)
    for line in [] if current else table(config, prepared):
        say(line)
    for line in validation_problems(config, prepared):
        say(line)
    return prepared


def _is_current(config: Config, inputs: Mapping[str, Sequence[str]], steps: Steps, directory: Path) -> bool:
    existing = manifest.find_manifest(directory)
    if existing is None:
        return False
    same = _is_same(config, inputs, steps, existing)
    if not same or not manifest.is_whole(existing, directory):
        return False
    try:
        prepared = load_manifest(config)
        for splits in prepared.stages.values():
            for part in chain.from_iterable(splits.values()):
                verify_part(part, config.model.vocab_size, prepared.eos_id)
    except UserError as fault:
        say(f"preparing again, since {str(fault).rpartition('; ')[0]}")
        return False
    say(f"{directory} is up to date with {count(len(prepared.sources), 'source file')}")
    return True


def _is_same(config: Config, inputs: Mapping[str, Sequence[str]], steps: Steps, existing: Manifest) -> bool | None:
    """Whether preparing again would give what is there; None where that cannot be known before."""
    directory = existing.path.parent
    builtin = has_builtin(inputs)
    corpus = builtin_corpus.find_corpus(directory / layout.RAW, config.data.text_key) if builtin else None
    if builtin and corpus is None:
        return None
    listing = list_files(inputs, corpus, directory, config.data.text_key)
    if config.data.on_damaged_file == "fail" and (listing.unreadable or existing.damaged.get("files")):
        return None
    try:
        tokenizer = given_tokenizer(config)
    except UserError:
        return None
    return manifest.is_same(existing, _options(config, inputs, steps), listing.files, tokenizer)


def _options(config: Config, inputs: Mapping[str, Sequence[str]], steps: Steps) -> dict[str, Any]:
    builtin = has_builtin(inputs)
    fingerprint = builtin_corpus.fingerprint(config.data.text_key) if builtin else None
    return manifest.options_of(config, fingerprint, steps.identity)


def _prepare(
    config: Config,
    inputs: Mapping[str, Sequence[str]],
    steps: Steps,
    assignment: Assignment,
    directory: Path,
    replace: bool,
) -> None:
    data = config.data
    existing = manifest.find_manifest(directory)
    if existing is not None and _is_same(config, inputs, steps, existing) is False:
        check_users(directory, None, replace)
        check_taught(existing, None, replace)
    work = directory / layout.WORK
    datasets = work / "datasets"
    note(directory, owned(directory))
    claim(work, "danube prepare")
    keep_merged(datasets)
    with ExitStack() as stack:
        workers = stack.enter_context(open_workers(config, work / "tasks"))
        workers.warm_up(import_for_tokenizing)
        corpus = collect_builtin(inputs, directory / layout.RAW, data.text_key, workers)
        listing = list_files(inputs, corpus, directory, data.text_key)
        say(f"{count(len(listing.files), 'source file')}, {sum(file.bytes for file in listing.files) / 1e6:,.1f} MB")
        examine(listing, data.on_damaged_file, data.text_key, data.url_key if steps else None)
        units = split_units(listing.files, data.shard_bytes)
        texts = training_texts(units, data.text_key, workers) if data.train_tokenizer else None
        tokenizer = choose_tokenizer(config, texts, datasets / layout.TOKENIZER)
        filters = FilterOptions(data.text_key, data.url_key, data.on_error, steps.alone, data.on_damaged_file)
        stored = len(list(passes(filters))) if steps else 0
        stack.enter_context(room_named(work, units, data.text_key, tokenizer, stored))
        sample = _sample(units, data.text_key)
        fast = _fast_encoder(tokenizer, sample, work / "fast.json", workers)
        options = TokenizeOptions(
            text_key=data.text_key,
            on_error=data.on_error,
            assignment=assignment,
            tokenizer_library=tokenizer.library,
            tokenizer_path=str(tokenizer.path),
            tokenizer_sha256=tokenizer.sha256,
            eos_id=tokenizer.eos_id,
            vocab_size=tokenizer.vocab_size,
            on_damaged_file=data.on_damaged_file,
            scores=steps.scores,
            fast_json=fast,
        )
        cleaned: list[CleanUnit] | None = None
        if steps:
            cleaned = filter_corpus(units, filters, steps.across, work, workers)
        tokenized = tokenize_corpus(
            units, listing, cleaned, options, work / "units", workers, lambda: tokenizer.check(sample)
        )
        benchmarks: list[dict[str, Any]] = []
        if cleaned is not None:
            collect_removed(cleaned, tokenized.shards, datasets / layout.REMOVED)
            benchmarks = count_benchmark_hits(steps.alone, datasets / layout.REMOVED)
        for line in reading_lines(tokenized.damaged, tokenized.warnings, tokenized.skipped, tokenized.first_skipped):
            say(line)
        shared = SharedTexts(0, {})
        if len(assignment.sources) > 1:
            shared = find_shared(tokenized.shards, assignment, work / SHARED, workers)
        dtype = token_dtype(tokenizer.vocab_size)
        parts = merge_shards(tokenized.shards, datasets, assignment.destinations, dtype, shared.moved)
        if steps.scores:
            parts = add_scores(tokenized.shards, datasets, steps.scores, assignment.destinations, parts, shared.moved)
        tokens = {place: part.tokens for place, part in parts.items()}
        for line in share_lines(shared, assignment.destinations, tokens):
            say(line)
        _check_complete(config, assignment, tokenized, parts)
        made_with = _options(config, inputs, steps)
        built = manifest.build(directory, made_with, tokenizer, tokenized, parts, benchmarks, shared.texts)
        losers = check_users(directory, built, replace)
        check_taught(existing, built, replace)
        publish(with_taught(built), datasets)
        forget(directory, losers)


def _sample(units: Sequence[Unit], text_key: str) -> list[str]:
    """How the first documents of a few units all over the input begin."""
    some = units[:: -(-len(units) // _CHECKED_UNITS)]
    documents = (islice(read_texts([unit], text_key), _CHECKED_DOCUMENTS) for unit in some)
    return [text[:_CHECKED_CHARACTERS] for text in chain.from_iterable(documents)]


def _fast_encoder(tokenizer: Tokenizer, sample: Sequence[str], path: Path, workers: Pool) -> str | None:
    """Where the workers find what gigatoken encodes with; None, with a warning, where it must not be used."""
    if not tokenizer.not_as_json:
        whole_file(path, fast_json(tokenizer).encode())
        workers.warm_up(load_encoder, tokenizer.library, str(tokenizer.path), str(path))
    reason = why_not_fast(tokenizer, sample)
    if reason:
        say(f"encoding with {tokenizer.library} itself, which takes several times longer: {reason}")
        return None
    return str(path)


def _check_complete(
    config: Config, assignment: Assignment, tokenized: TokenizedCorpus, parts: Mapping[Destination, Part]
) -> None:
    documents = sum(file["documents"] for file in tokenized.files)
    if not documents:
        raise nothing_left(config, tokenized)
    for stage, source, group in assignment.destinations:
        if (stage, source, group) in parts:
            continue
        if group == "validation" and any(place == stage and kind == group for place, _, kind in parts):
            continue
        of = "" if source == TEXT else f" of {source}"
        nothing = f"{stage} gets no {group} document{of} out of {documents:,}; add text, or"
        if group == "distilled":
            if config.distillation and config.distillation.teachers:
                raise UserError(f"distillation.every_n_batches={config.distilled_every}: {nothing} lower the number")
            continue
        change = "raise" if group == "validation" else "lower"
        raise UserError(f"data.validation_fraction={config.data.validation_fraction}: {nothing} {change} the fraction")
