"""``danube prepare``: raw text in, one Megatron indexed dataset per stage and split out.

Two passes. In the first, worker processes tokenize units of the input into shards (``data.dir/parts``), each published
whole, so that a killed run loses at most the units in work. In the second, the shards are joined in order. The result
is then renamed into place, and the manifest is written last. While it runs, the shards take as much room as the result.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

from custom_modules.config.schema import TEXT, Config
from custom_modules.data.index import token_dtype
from custom_modules.data.manifest import Manifest, Part, Split, load_manifest
from custom_modules.data.verify import verify_part
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from custom_modules.folder_lock import folder_lock
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
from data_prep.output.publish import publish
from data_prep.output.removed import REMOVED_FOLDER, collect_removed, count_benchmark_hits
from data_prep.output.room import room_named
from data_prep.output.scores import add_scores
from data_prep.output.summary import skipped_lines, table
from data_prep.steps.filter_shard import FilterOptions
from data_prep.tokenize.assignment import Assignment
from data_prep.tokenize.choose_tokenizer import FOLDER, choose_tokenizer, given_tokenizer
from data_prep.tokenize.tokenize_corpus import TokenizedCorpus, tokenize_corpus
from data_prep.tokenize.tokenize_shard import TokenizeOptions, load_encoder
from data_prep.tokenize.training_texts import read_texts, training_texts
from data_prep.work.executors import open_workers
from data_prep.work.progress import count, say
from data_prep.work.workers import Pool, import_for_tokenizing, stop_signals

_RESERVED = ("parts", "raw", "only", FOLDER, REMOVED_FOLDER)
_CHECKED_UNITS = 4
_CHECKED_DOCUMENTS = 100
_CHECKED_CHARACTERS = 1_500


def run(config: Config) -> Manifest:
    """Prepare ``data.dir`` from ``data.input``, or say that it is up to date.

    Raises:
        UserError: a mistake in the config or the input, a full disk, or another ``prepare`` on the same folder.
        StoppedBySignal: SIGINT or SIGTERM; the same command goes on from the last finished unit.
    """
    inputs = inputs_of(config)
    steps = build_steps(config.data.steps.chosen)
    Assignment.from_config(config)
    for stage in config.curriculum.stages:
        if stage in _RESERVED or "/" in stage:
            raise UserError(f"curriculum.stages.{stage}: a stage's data needs a folder of its own; use another name")
    directory = Path(config.data.dir)
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with folder_lock(directory, "data.dir"), stop_signals():
            current = _is_current(config, inputs, steps, directory)
            if not current:
                _prepare(config, inputs, steps, directory)
            shutil.rmtree(directory / "parts", ignore_errors=True)
            prepared = load_manifest(config)
            if not (current and has_card(directory)):
                write_card(config, prepared)
    for line in [] if current else table(config, prepared):
        say(line)
    return prepared


def _is_current(config: Config, inputs: Mapping[str, Sequence[str]], steps: Steps, directory: Path) -> bool:
    existing = manifest.find_manifest(directory)
    builtin = has_builtin(inputs)
    corpus = builtin_corpus.find_corpus(directory / "raw", config.data.text_key) if builtin else None
    if existing is None or (builtin and corpus is None):
        return False
    files, _ = list_files(inputs, corpus, directory)
    try:
        tokenizer = given_tokenizer(config)
    except UserError:
        return False
    if not manifest.is_current(existing, directory, _options(config, inputs, steps), files, tokenizer):
        return False
    try:
        prepared = load_manifest(config)
        for splits in prepared.stages.values():
            for part in chain.from_iterable(splits.values()):
                verify_part(part, config.model.vocab_size, prepared.eos_id)
    except UserError as fault:
        say(f"preparing again, since {str(fault).rpartition('; ')[0]}")
        return False
    say(f"{directory} is up to date with {count(len(files), 'source file')}")
    return True


def _options(config: Config, inputs: Mapping[str, Sequence[str]], steps: Steps) -> dict[str, Any]:
    builtin = has_builtin(inputs)
    fingerprint = builtin_corpus.fingerprint(config.data.text_key) if builtin else None
    return manifest.options_of(config, fingerprint, steps.identity)


def _prepare(config: Config, inputs: Mapping[str, Sequence[str]], steps: Steps, directory: Path) -> None:
    data = config.data
    work = directory / "parts"
    datasets = work / "datasets"
    keep_merged(datasets)
    with ExitStack() as stack:
        workers = stack.enter_context(open_workers(config, work / "tasks"))
        workers.warm_up(import_for_tokenizing)
        corpus = collect_builtin(inputs, directory / "raw", data.text_key, workers)
        files, ignored = list_files(inputs, corpus, directory)
        say(f"{count(len(files), 'source file')}, {sum(file.bytes for file in files) / 1e6:,.1f} MB")
        if ignored:
            say(f"passed over {count(ignored, 'file')} of other formats")
        units = split_units(files, data.shard_bytes)
        texts = training_texts(units, data.text_key, workers) if data.train_tokenizer else None
        tokenizer = choose_tokenizer(config, texts, datasets / FOLDER)
        filters = FilterOptions(data.text_key, data.url_key, data.on_error, steps.alone)
        stored = len(list(passes(filters))) if steps else 0
        stack.enter_context(room_named(work, units, data.text_key, tokenizer, stored))
        sample = _sample(units, data.text_key)
        fast = _fast_encoder(tokenizer, sample, work / "fast.json", workers)
        assignment = Assignment.from_config(config)
        options = TokenizeOptions(
            text_key=data.text_key,
            on_error=data.on_error,
            assignment=assignment,
            tokenizer_library=tokenizer.library,
            tokenizer_path=str(tokenizer.path),
            tokenizer_sha256=tokenizer.sha256,
            eos_id=tokenizer.eos_id,
            vocab_size=tokenizer.vocab_size,
            scores=steps.scores,
            fast_json=fast,
        )
        cleaned: list[CleanUnit] | None = None
        if steps:
            cleaned = filter_corpus(units, filters, steps.across, work, workers)
        tokenized = tokenize_corpus(
            units, files, cleaned, options, work / "units", workers, lambda: tokenizer.check(sample)
        )
        benchmarks: list[dict[str, Any]] = []
        if cleaned is not None:
            collect_removed(cleaned, tokenized.shards, datasets / REMOVED_FOLDER)
            benchmarks = count_benchmark_hits(steps.alone, datasets / REMOVED_FOLDER)
        for line in skipped_lines(tokenized.skipped, tokenized.first_skipped):
            say(line)
        parts = merge_shards(tokenized.shards, datasets, assignment.destinations, token_dtype(tokenizer.vocab_size))
        if steps.scores:
            parts = add_scores(tokenized.shards, datasets, steps.scores, assignment.destinations, parts)
        _check_complete(config, assignment, tokenized, parts)
        made_with = _options(config, inputs, steps)
        publish(manifest.build(directory, made_with, tokenizer, tokenized, parts, benchmarks), datasets)


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
    config: Config, assignment: Assignment, tokenized: TokenizedCorpus, parts: Mapping[tuple[str, str, Split], Part]
) -> None:
    documents = sum(file["documents"] for file in tokenized.files)
    if not documents:
        why = f"; {tokenized.first_skipped[0]}" if tokenized.first_skipped else ""
        raise UserError(f"data.input={config.data.input}: no document in it{why}")
    for stage, source, split in assignment.destinations:
        if (stage, source, split) in parts:
            continue
        if split == "validation" and any(place == stage and kind == split for place, _, kind in parts):
            continue
        change = "raise" if split == "validation" else "lower"
        of = "" if source == TEXT else f" of {source}"
        raise UserError(
            f"data.validation_fraction={config.data.validation_fraction}: {stage} gets no {split} document{of} out of "
            f"{documents:,}; add text, or {change} the fraction"
        )
