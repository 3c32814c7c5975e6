"""`danube check-data`: every fault of a dataset that megatron-core does not notice when it reads. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.inspect import DTYPES, Description, Index, open_index, read_description
from custom_modules.data.manifest import MANIFEST, Part
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES

BLOCK = 1 << 22
"""Bytes of a ``.bin``, or entries of an index, in memory at once."""
QUICK_BLOCKS = 32
PREPARED = "delete it and run `danube prepare` again, or copy it again"
PLAIN = "make or copy it again"
_OWN = (".lock", MANIFEST)
_OWN_FOLDERS = ("raw", "cache")
_TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class Problem:
    """One fault. As a string it is one line."""

    file: Path
    fault: str
    """What is there, what should be, and what to do."""

    def __str__(self) -> str:
        return f"{self.file}: {self.fault}"


Problems = Iterator[Problem]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class _Vocabulary:
    size: int | None
    eos_id: int | None


def check_data(
    directory: Path,
    quick: bool = False,
    runs: Sequence[Path] = (),
    vocab_size: int | None = None,
    eos_id: int | None = None,
    advance: Advance = lambda read: None,
) -> Problems:
    """All faults of a ``data.dir``, or of a folder of Megatron datasets without a manifest; each as it is found.

    Args:
        quick: read only some blocks of each ``.bin``, and compare no hashes.
        runs: folders of runs whose index caches are checked too.
        vocab_size, eos_id: of the tokens; None for the tokenizer's in the folder. Without any, ids and document ends
            go unchecked.
        advance: called with the number of bytes read from a ``.bin``.

    Raises:
        UserError: there is no such folder.
    """
    for folder in (directory, *runs):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give the data's, and for --run a run's")
    return _check(directory, quick, runs, _Vocabulary(vocab_size, eos_id), advance)


def _check(
    directory: Path, quick: bool, runs: Sequence[Path], given: _Vocabulary, advance: Advance
) -> Problems:
    description, tokenizer = yield from _check_description(directory)
    named = {part.prefix: part for _, _, part in description.datasets()} if description else {}
    found = {path.with_suffix("") for path in _files(directory) if path.suffix in (".bin", ".idx")}
    if not found and not named:
        yield Problem(directory, "no .bin and .idx files in it; run `danube prepare`, or give another folder")
    entry = description.tokenizer if description else tokenizer
    vocabulary = _Vocabulary(
        entry.vocab_size if given.size is None and entry else given.size,
        entry.eos_id if given.eos_id is None and entry else given.eos_id,
    )
    sound = []
    for prefix in sorted(named) if description else sorted(found):
        index = yield from _check_dataset(prefix, named.get(prefix), vocabulary, quick, advance)
        if index:
            sound.append(index)
    if description:
        yield from _unnamed(directory, description, tokenizer)
    for root in (directory, *runs):
        for path in sorted(root.rglob("*-GPTDataset-*description.txt")):
            why = None if path.parent.suffix == ".partial" else _why_stale(path, directory, sound)
            if why:
                yield Problem(path, f"{why}; delete {path.parent}, and megatron-core makes it again")


def _files(directory: Path) -> list[Path]:
    """All but what an unfinished `prepare` has in work."""
    return [path for path in directory.rglob("*") if path.is_file() and directory / "parts" not in path.parents]


def _check_description(directory: Path) -> Generator[Problem, None, tuple[Description | None, Tokenizer | None]]:
    """The manifest and the tokenizer, as far as they can be used."""
    path, folder = directory / MANIFEST, directory / _TOKENIZER
    description = None
    try:
        description = read_description(directory)
        if description is None and (folder.is_dir() or (directory / "parts").is_dir()):
            yield Problem(path, "missing, so the data may not be whole; run `danube prepare` again")
    except UserError as error:
        yield _told(path, error)
    if description is None:
        libraries = [library for library, name in FILES.items() if (folder / name).is_file()]
        return None, (yield from _load_tokenizer(libraries[0], folder)) if libraries else None
    for stage in description.options.get("stages", {}).keys() | description.stages.keys():
        for split in ("train", "validation"):
            if not sum(part.tokens for part in description.stages.get(stage, {}).get(split, [])):
                yield Problem(path, f"{stage} has no {split} tokens; add text and run `danube prepare` again")
    entry = description.tokenizer
    tokenizer = yield from _load_tokenizer(entry.library, directory / entry.file)
    if tokenizer:
        for name in ("sha256", "vocab_size", "eos_id"):
            there, said = getattr(tokenizer, name), getattr(entry, name)
            if there != said:
                yield Problem(tokenizer.path, f"{name} {there}, but the manifest says {said}; {PREPARED}")
    return description, tokenizer


def _load_tokenizer(library: str, path: Path) -> Generator[Problem, None, Tokenizer | None]:
    try:
        return load_tokenizer(library, path)
    except UserError as error:
        yield Problem(path, f"the tokenizer cannot be used: {error}")
    return None


def _told(path: Path, error: UserError) -> Problem:
    return Problem(path, str(error).removeprefix(f"{path}: "))


def _unnamed(directory: Path, description: Description, tokenizer: Tokenizer | None) -> Problems:
    named = {directory / name for name in _OWN} | {directory / description.tokenizer.file}
    named |= {file for _, _, part in description.datasets() for file in (part.bin, part.idx)}
    named |= set(tokenizer.files) if tokenizer else set()
    own = [directory / folder for folder in _OWN_FOLDERS]
    for path in sorted(_files(directory)):
        if path not in named and "-GPTDataset-" not in path.name and not any(folder in path.parents for folder in own):
            yield Problem(path, "not named by the manifest, so nothing reads it; move it elsewhere or delete it")
    if (directory / "parts").is_dir():
        yield Problem(directory / "parts", "left by an unfinished `danube prepare`; run it again, or delete the folder")


def _check_dataset(
    prefix: Path, part: Part | None, vocabulary: _Vocabulary, quick: bool, advance: Advance
) -> Generator[Problem, None, Index | None]:
    """Returns the index if it is sound in itself."""
    bin_file, idx_file = (prefix.with_name(f"{prefix.name}.{kind}") for kind in ("bin", "idx"))
    remedy = PREPARED if part else PLAIN
    index, sound = None, False
    for file in (bin_file, idx_file):
        if not file.is_file():
            yield Problem(file, f"missing; {remedy}")
    if idx_file.is_file():
        ...
    return index if sound else None
