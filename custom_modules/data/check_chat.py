"""`danube check-data` of conversations and pairs. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.data import layout
from custom_modules.data.chat_manifest import PAIRS, ChatManifest, SplitEntry
from custom_modules.data.conversations import Samples
from custom_modules.data.manifest_file import AGAIN
from custom_modules.errors import UserError
from custom_modules.folder_lock import LOCKS
from custom_modules.made import NOTE

_ROWS = 1_000
_QUICK_ROWS = 2_000
_BESIDE = (layout.REMOVED, layout.USED_BY)
Fault = tuple[Path, str]


def check_chat(manifest: ChatManifest, quick: bool) -> Iterator[Fault]:
    """Give every file with a fault: what is there, what should be, and what to do.

    Args:
        quick: read some samples of each split only, and compare no hashes.
    """
    faults = manifest.faults(quick)
    yield from faults.items()
    folder = manifest.directory / layout.TOKENIZER
    if not any(path.is_relative_to(folder) for path in faults):
        yield from _check_tokenizer(manifest, folder)
    for split, entry in manifest.splits.items():
        if not entry.samples:
            yield manifest.path, f"nothing in {split}; {AGAIN} with more data"
        elif not any(manifest.directory / name in faults for name in entry.files):
            check = _check_samples if manifest.kind == "conversations" else _check_pairs
            yield from check(manifest, split, entry, quick)
    yield from _unnamed(manifest)


def _check_tokenizer(manifest: ChatManifest, folder: Path) -> Iterator[Fault]:
    try:
        tokenizer = ChatTokenizer.load(folder)
    except (UserError, OSError) as error:
        yield folder, f"the tokenizer cannot be used ({error}); {AGAIN}"
        return
    for name in ("sha256", "base_sha256", "vocab_size", "eos_id", "pad_id"):
        there, said = getattr(tokenizer, name), getattr(manifest.tokenizer, name)
        if there != said:
            yield folder, f"{name} {there}, but the manifest says {said}; {AGAIN}"


def _check_samples(manifest: ChatManifest, split: str, entry: SplitEntry, quick: bool) -> Iterator[Fault]:
    folder = manifest.directory / split
    try:
        samples = Samples(folder)
    except UserError as error:
        yield folder, str(error).removeprefix(f"{folder}: ")
        return
    longest = int(manifest.options["encoder_seq_length"])
    tokens = int(samples.lengths.sum(dtype=np.int64))
    for what, there, said in (("samples", len(samples), entry.samples), ("tokens", tokens, entry.tokens)):
        if there != said:
            yield folder, f"{there} {what}, but the manifest says {said}; {AGAIN}"
    if over := int((samples.lengths > longest).sum()):
        yield folder, f"{over} samples have more than {longest} tokens; {AGAIN}"
    numbers = range(len(samples)) if not quick else range(0, len(samples), max(1, len(samples) // _QUICK_ROWS))
    beyond, unlearnt = 0, 0
    for number in numbers:
        ids, answers = samples[number]
        beyond += int(((ids < 0) | (ids >= manifest.tokenizer.vocab_size)).sum())
        unlearnt += not answers.any()
    size = manifest.tokenizer.vocab_size
    for count, what in (
        (beyond, f"token ids beyond the vocabulary of {size}"),
        (unlearnt, "samples without a token of an answer"),
    ):
        if count:
            yield folder, f"{count} {what}; {AGAIN}"
    if not quick and (learnt := int(samples.answer_tokens.sum(dtype=np.int64))) != entry.answer_tokens:
        yield folder, f"{learnt} tokens of answers, but the manifest says {entry.answer_tokens}; {AGAIN}"


def _check_pairs(manifest: ChatManifest, split: str, entry: SplitEntry, quick: bool) -> Iterator[Fault]:
    import pyarrow
    from pyarrow import parquet

    path = manifest.directory / split / PAIRS
    try:
        with parquet.ParquetFile(str(path)) as file:
            rows = file.metadata.num_rows
            if rows != entry.samples:
                yield path, f"{rows} pairs, but the manifest says {entry.samples}; {AGAIN}"
            number = 0
            for batch in file.iter_batches(_ROWS, columns=["prompt", "chosen", "rejected"], use_threads=False):
                for row in batch.to_pylist():
                    if fault := _fault_of_pair(row):
                        yield path, f"pair {number}: {fault}; {AGAIN}"
                        return
                    number += 1
                if quick and number >= _QUICK_ROWS:
                    return
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        yield path, f"cannot be read ({' '.join(str(error).split())}); {AGAIN}"


def _fault_of_pair(row: dict[str, Any]) -> str | None:
    roles = [message["role"] for message in row["prompt"]]
    if len(roles) % 2 == 0 or any((role == "user") != (number % 2 == 0) for number, role in enumerate(roles)):
        return "its prompt is not a user's and an assistant's turns that end with a question"
    for side in ("chosen", "rejected"):
        if [message["role"] for message in row[side]] != ["assistant"]:
            return f"{side} is not one answer"
    return "both answers are equal" if row["chosen"] == row["rejected"] else None


def _unnamed(manifest: ChatManifest) -> Iterator[Fault]:
    directory = manifest.directory
    named = {directory / name for name in (*LOCKS, NOTE, layout.MANIFEST, *layout.CARD, *manifest.entries())}
    work = directory / layout.WORK
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        beside = any(directory / name in path.parents for name in (*_BESIDE, layout.WORK))
        if path not in named and not beside:
            yield path, "not named by the manifest, so nothing reads it; move it elsewhere or delete it"
    if work.is_dir():
        yield work, "left by an unfinished `danube prepare`; run it again, or delete the folder"
