"""``manifest.json`` of conversations and pairs as `danube prepare` makes it, and whether it is up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.data.chat_manifest import (
    FORMAT,
    SPLITS,
    ChatManifest,
    ChatTokenizerEntry,
    FileEntry,
    Kind,
    SplitEntry,
)
from custom_modules.data.layout import MANIFEST
from custom_modules.files import sha256_of
from data_prep.conversations.account import Account
from data_prep.conversations.request import Request
from data_prep.conversations.sample_files import SplitCount
from data_prep.conversations.write_unit import read_splits
from data_prep.input.input_files import InputFile
from data_prep.output.manifest import same_file
from data_prep.work.progress import say


def is_other(manifest: ChatManifest | None, options: Mapping[str, Any], kind: Kind, tokenizer: ChatTokenizer) -> bool:
    """Tell whether what is asked for is known, before any work, to be other data than what is there, if any is."""
    return (
        manifest is None
        or manifest.kind != kind
        or orjson.dumps(manifest.options) != orjson.dumps(options)  # the sources' order counts
        or manifest.tokenizer.sha256 != tokenizer.sha256
    )


def is_current(
    manifest: ChatManifest | None,
    options: Mapping[str, Any],
    kind: Kind,
    files: Sequence[InputFile],
    tokenizer: ChatTokenizer,
) -> bool:
    """Tell whether preparing again would give what is there, and that is whole; says what of it is damaged."""
    if manifest is None or is_other(manifest, options, kind, tokenizer):
        return False
    if (
        manifest.damaged.get("files")  # they may have been mended
        or len(manifest.sources) != len(files)
        or not all(map(same_file, manifest.sources, files))
    ):
        return False
    for path, fault in manifest.faults().items():
        say(f"preparing again, since {path}: {fault.rpartition('; ')[0]}")
        return False
    return True


def entries_of(folder: Path) -> dict[str, FileEntry]:
    """Return what the files of a folder are, by name.

    Raises:
        OSError: one cannot be read.
    """
    return {path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(folder.iterdir())}


def splits_of(names: Sequence[str], sources: Sequence[int], shards: Sequence[Path]) -> dict[str, SplitEntry]:
    """Add up what units have, yet without files.

    Args:
        names: of the sources.
        sources: the number of each unit's source.
        shards: the folders of the units.
    """
    totals = {split: SplitCount() for split in SPLITS}
    by_source = {split: dict.fromkeys(names, 0) for split in SPLITS}
    for source, shard in zip(sources, shards, strict=True):
        for split, counted in read_splits(shard).items():
            totals[split].add(counted)
            by_source[split][names[source]] += counted.samples
    return {
        split: SplitEntry(one.samples, one.tokens, one.answer_tokens, one.longest, by_source[split], {})
        for split, one in totals.items()
    }


def build(
    request: Request,
    options: Mapping[str, Any],
    splits: Mapping[str, SplitEntry],
    tokenizer: ChatTokenizer,
    files: Mapping[str, FileEntry],
    account: Account,
) -> ChatManifest:
    """Return the manifest of finished data.

    Args:
        files: of the tokenizer's folder.
    """
    assert tokenizer.eos_id is not None and tokenizer.pad_id is not None
    return ChatManifest(
        path=request.directory / MANIFEST,
        format=FORMAT,
        kind=request.kind,
        options=dict(options),
        tokenizer=ChatTokenizerEntry(
            sha256=tokenizer.sha256,
            base_sha256=tokenizer.base_sha256,
            vocab_size=tokenizer.vocab_size,
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
            files=dict(files),
        ),
        splits=dict(splits),
        sources=account.files,
        skipped={"records": account.skipped, "first": account.first_skipped},
        damaged={"files": len(account.damaged), "named": list(map(str, account.damaged))},
    )
