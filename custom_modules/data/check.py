"""`danube check-data`: every fault of a dataset that megatron-core does not notice when it reads. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_modules.data.inspect import DTYPES, Description, Index, open_index, read_description
from custom_modules.data.manifest import MANIFEST, Part
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES

BLOCK = 1 << 22
"""Bytes of a ``.bin`` in memory at once."""
ENTRIES = 1 << 20
"""Entries of an index in memory at once."""
QUICK_BLOCKS = 16
PREPARED = "delete it and run `danube prepare` again, or copy it again"
PLAIN = "make or copy it again"
CACHES = "*-GPTDataset-*description.txt"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Problem:
    """One fault; as a string, one line.

    Attributes:
        fault: what is there, what should be, and what to do.
    """

    file: Path
    fault: str

    def __str__(self) -> str:
        return f"{self.file}: {self.fault}"


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
) -> Iterator[Problem]:
    """All faults of a ``data.dir``, or of a folder of Megatron datasets without a manifest, each as it is found.

    Args:
        quick: read some blocks of each ``.bin`` only, and compare no hashes.
        runs: folders of runs whose index caches are checked too.
        vocab_size, eos_id: of the tokens; None for those of the folder's tokenizer. Where there is none either, ids and
            document ends are not checked.
        advance: called with the number of bytes just read from a ``.bin``.

    Raises:
        UserError: at once: there is no such folder.
    """
    for folder in (directory, *runs):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give the one that holds the data, or a run's")
    return _check(directory, quick, runs, _Vocabulary(vocab_size, eos_id), advance)


def _check(
    directory: Path, quick: bool, runs: Sequence[Path], given: _Vocabulary, advance: Advance
) -> Iterator[Problem]:
    description, tokenizer = yield from _check_description(directory)
    files = [path for path in directory.rglob("*") if path.is_file() and directory / "parts" not in path.parents]
    parts = {part.prefix: part for _, _, part in description.datasets()} if description else {}
    prefixes = parts or {path.with_suffix("") for path in files if path.suffix in (".bin", ".idx")}
    if not prefixes:
        yield Problem(directory, "no .bin and .idx files in it; run `danube prepare`, or give another folder")
    known = description.tokenizer if description else tokenizer
    vocabulary = _Vocabulary(
        known.vocab_size if known and given.size is None else given.size,
        known.eos_id if known and given.eos_id is None else given.eos_id,
    )
    sound = {}
    for prefix in sorted(prefixes):
        index = yield from _check_dataset(prefix, parts.get(prefix), vocabulary, quick, advance)
        sound |= {prefix.relative_to(directory): index} if index else {}
    if description:
        yield from _unnamed(directory, files, description, tokenizer)
    for root in (directory, *runs):
        for path in sorted(root.rglob(CACHES)):
            if path.parent.suffix != ".partial" and (why := _why_stale(path, directory, sound)):
                yield Problem(path, f"{why}; delete its folder, and the next run makes it again")


def _check_description(directory: Path) -> Generator[Problem, None, tuple[Description | None, Tokenizer | None]]:
    """The manifest and the tokenizer, as far as they can be used."""
    path, folder = directory / MANIFEST, directory / "tokenizer"
    description = None
    try:
        description = read_description(directory)
        if description is None and (folder.is_dir() or (directory / "parts").is_dir()):
            yield Problem(path, "missing, so `danube prepare` did not finish here; run it again")
    except UserError as error:
        yield Problem(path, str(error).removeprefix(f"{path}: "))
    if description is None:
        libraries = [library for library, name in FILES.items() if (folder / name).is_file()]
        return None, (yield from _load_tokenizer(libraries[0], folder)) if libraries else None
    for stage in description.options.get("stages", {}).keys() | description.stages.keys():
        for split in ("train", "validation"):
            if not sum(part.tokens for part in description.stages.get(stage, {}).get(split, [])):
                yield Problem(path, f"{stage} has no {split} tokens; add text and run `danube prepare` again")
    entry = description.tokenizer
    tokenizer = yield from _load_tokenizer(entry.library, directory / entry.file)
    for name in ("sha256", "vocab_size", "eos_id") if tokenizer else ():
        there, said = getattr(tokenizer, name), getattr(entry, name)
        if there != said:
            yield Problem(directory / entry.file, f"{name} {there}, but the manifest says {said}; copy it again")
    return description, tokenizer


def _load_tokenizer(library: str, path: Path) -> Generator[Problem, None, Tokenizer | None]:
    try:
        return load_tokenizer(library, path)
    except UserError as error:
        yield Problem(path, f"the tokenizer cannot be used ({error}); copy it again")
    return None


def _unnamed(
    directory: Path, files: Sequence[Path], description: Description, tokenizer: Tokenizer | None
) -> Iterator[Problem]:
    named = {directory / name for name in (".lock", MANIFEST, description.tokenizer.file)}
    named |= {file for _, _, part in description.datasets() for file in (part.bin, part.idx)}
    named |= set(tokenizer.files) if tokenizer else set()
    for path in sorted({*files} - named):
        if directory / "raw" not in path.parents and "-GPTDataset-" not in path.name:
            yield Problem(path, "not named by the manifest, so nothing reads it; move it elsewhere or delete it")
    if (directory / "parts").is_dir():
        yield Problem(directory / "parts", "left by an unfinished `danube prepare`; run it again, or delete the folder")


def _check_dataset(
    prefix: Path, part: Part | None, vocabulary: _Vocabulary, quick: bool, advance: Advance
) -> Generator[Problem, None, Index | None]:
    """Returns the index if it is sound in itself."""
    remedy = PREPARED if part else PLAIN
    dtype = next((dtype for dtype in DTYPES.values() if part and part.dtype == dtype.name), None)
    sizes, index = {}, None
    for kind in ("bin", "idx"):
        file = prefix.with_name(f"{prefix.name}.{kind}")
        sizes[kind] = file.stat().st_size if file.is_file() else None
        if sizes[kind] is None:
            yield Problem(file, f"missing; {remedy}")
        elif part and sizes[kind] != part.bytes.get(kind):
            yield Problem(file, f"{sizes[kind]} bytes, but the manifest says {part.bytes.get(kind)}; {remedy}")
    bin_file, idx_file = prefix.with_name(prefix.name + ".bin"), prefix.with_name(prefix.name + ".idx")
    if sizes["idx"] is not None and not (part and sizes["idx"] != part.bytes.get("idx")):
        try:
            index = open_index(idx_file, dtype)
        except UserError as error:
            yield Problem(idx_file, str(error).removeprefix(f"{idx_file}: "))
    ...
