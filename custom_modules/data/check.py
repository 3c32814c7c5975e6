"""`danube check-data`: every fault of a dataset that megatron-core does not notice when it reads. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.inspect import Description, Index, open_index, read_description
from custom_modules.data.manifest import MANIFEST, Part
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES
from custom_modules.training.checkpoint_files import file_digest

BLOCK = 1 << 22
"""Bytes of a ``.bin`` in memory at once."""
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
    sound: dict[Path, Index] = {}
    for prefix in sorted(prefixes):
        index = yield from _check_dataset(prefix, parts.get(prefix), vocabulary, quick, advance)
        sound |= {prefix.absolute(): index} if index else {}
    if description:
        yield from _unnamed(directory, files, description, tokenizer)
    for root in (directory, *runs):
        for path in sorted(root.rglob(CACHES)):
            if path.parent.suffix != ".partial" and (why := _why_stale(path, sound)):
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
        beside = {directory / "raw", directory / "removed"} & {*path.parents} or path.stem == "data_card"
        if not beside and "-GPTDataset-" not in path.name:
            yield Problem(path, "not named by the manifest, so nothing reads it; move it elsewhere or delete it")
    if (directory / "parts").is_dir():
        yield Problem(directory / "parts", "left by an unfinished `danube prepare`; run it again, or delete the folder")


def _check_dataset(
    prefix: Path, part: Part | None, vocabulary: _Vocabulary, quick: bool, advance: Advance
) -> Generator[Problem, None, Index | None]:
    """Returns the index if it is sound in itself."""
    remedy = PREPARED if part else PLAIN
    files = {kind: prefix.with_name(f"{prefix.name}.{kind}") for kind in ("bin", "idx")}
    sizes = {kind: file.stat().st_size if file.is_file() else None for kind, file in files.items()}
    for kind, file in files.items():
        if sizes[kind] is None:
            yield Problem(file, f"missing; {remedy}")
        elif part and sizes[kind] != part.bytes.get(kind):
            yield Problem(file, f"{sizes[kind]} bytes, but the manifest says {part.bytes.get(kind)}; {remedy}")
    index: Index | None = None
    if sizes["idx"] is not None:
        try:
            index = open_index(files["idx"])
            faults = list(_index_faults(index, part, sizes["bin"]))
        except UserError as error:
            faults = [str(error).removeprefix(f"{files['idx']}: ").partition("; ")[0]]
            index = None
        yield from (Problem(files["idx"], f"{fault}; {remedy}") for fault in faults)
        index = None if faults else index
        if part and not quick and sizes["idx"] == part.bytes.get("idx"):
            yield from _compare(files["idx"], file_digest(files["idx"]), part.sha256.get("idx"), remedy)
    if sizes["bin"] is not None:
        reading = _Reading(files["bin"], sizes["bin"], index, vocabulary)
        reading.read(quick, advance)
        yield from (Problem(files["bin"], f"{fault}; {remedy}") for fault in reading.faults())
        if part and not quick and sizes["bin"] == part.bytes.get("bin"):
            yield from _compare(files["bin"], reading.digest, part.sha256.get("bin"), remedy)
    return index


def _compare(file: Path, found: str, expected: str | None, remedy: str) -> Iterator[Problem]:
    if found != expected:
        yield Problem(file, f"SHA-256 {found[:16]}..., but the manifest says {str(expected)[:16]}...; {remedy}")


def _index_faults(index: Index, part: Part | None, bin_size: int | None) -> Iterator[str]:
    """What is wrong between an index, its manifest entry and the size of its ``.bin``."""
    if part and index.dtype.name != part.dtype:
        yield f"dtype {index.dtype.name}, but the manifest says {part.dtype}"
    sequences = len(index.lengths)
    if sequences == 0:
        yield "no sequence in it"
        return
    boundaries = index.document_indices
    if boundaries.size == 0 or boundaries[0] != 0 or boundaries[-1] != sequences or (np.diff(boundaries) < 0).any():
        yield f"its document ends do not run from 0 to its {sequences} sequences"
    else:
        empty = np.flatnonzero(np.diff(boundaries) == 0)
        if empty.size:
            yield f"{empty.size} empty document(s), the first is document {empty[0]}"
    if (index.lengths <= 0).any():
        number = int(np.argmax(index.lengths <= 0))
        yield f"sequence {number} has {index.lengths[number]} tokens"
    ends = np.cumsum(index.lengths, dtype=np.int64) * index.dtype.itemsize
    starts = ends - index.lengths * np.int64(index.dtype.itemsize)
    if not np.array_equal(index.pointers, starts):
        number = int(np.argmax(index.pointers != starts))
        begins = f"sequence {number} begins at byte {index.pointers[number]}"
        yield f"{begins}, but the ones before it end at byte {starts[number]}"
    if bin_size is not None and ends[-1] != bin_size:
        yield f"its sequences take {ends[-1]} bytes, but the .bin has {bin_size}"
    if part and (part.documents, part.tokens) != (index.documents, index.tokens):
        counted = f"{index.documents} documents and {index.tokens} tokens"
        yield f"{counted}, but the manifest says {part.documents} and {part.tokens}"


class _Reading:
    """One pass over a ``.bin``: its hash, its ids and the ends of its documents.

    Args:
        index: a sound one; None: only the hash can be had.
    """

    def __init__(self, path: Path, size: int, index: Index | None, vocabulary: _Vocabulary) -> None:
        self.path, self.size, self.index, self.vocabulary = path, size, index, vocabulary
        self.digest = ""
        self.beyond, self.first_beyond = 0, (0, 0)
        self.unended, self.first_unended = 0, 0

    def read(self, quick: bool, advance: Advance) -> None:
        """Whole, or ``QUICK_BLOCKS`` blocks spread over it, without a hash."""
        blocks = range(0, self.size, BLOCK)
        chosen = blocks[:: max(1, len(blocks) // QUICK_BLOCKS)] if quick else blocks
        whole = hashlib.sha256()
        ends = self.index.boundaries(1, self.index.documents) - 1 if self.index else np.empty(0, np.int64)
        with self.path.open("rb") as stream:
            for begin in chosen:
                stream.seek(begin)
                content = stream.read(BLOCK)
                if not quick:
                    whole.update(content)
                if self.index:
                    self._look(np.frombuffer(content, self.index.dtype), begin // self.index.dtype.itemsize, ends)
                advance(len(content))
        self.digest = whole.hexdigest()

    def _look(self, tokens: NDArray[Any], first: int, ends: NDArray[np.int64]) -> None:
        size, eos_id = self.vocabulary.size, self.vocabulary.eos_id
        if size is not None and tokens.size and (int(tokens.max()) >= size or int(tokens.min()) < 0):
            wrong = np.flatnonzero((tokens >= size) | (tokens < 0))
            if not self.beyond:
                self.first_beyond = (first + int(wrong[0]), int(tokens[wrong[0]]))
            self.beyond += wrong.size
        if eos_id is not None:
            begin, end = np.searchsorted(ends, (first, first + tokens.size))
            missing = np.flatnonzero(tokens[ends[begin:end] - first] != eos_id)
            if missing.size and not self.unended:
                self.first_unended = int(begin + missing[0])
            self.unended += missing.size

    def faults(self) -> Iterator[str]:
        if self.beyond and self.index:
            token, value = self.first_beyond
            where = f"the first, {value}, is token {token}, in document {self.index.document_at(token)}"
            yield f"{self.beyond} token id(s) beyond the vocabulary of {self.vocabulary.size}; {where}"
        if self.unended:
            which = f"the first is document {self.first_unended}"
            yield f"{self.unended} document(s) do not end in the end token {self.vocabulary.eos_id}; {which}"


def _why_stale(description: Path, sound: Mapping[Path, Index]) -> str | None:
    """Why megatron-core's index files belong to other data than there is now; None if they fit, or are of other data.

    Args:
        sound: indices by their dataset's absolute prefix.
    """
    try:
        said = json.loads(description.read_text())
        index = sound.get(Path(said["dataset_path"]).absolute())
        stem = description.name.removesuffix("description.txt")
        documents, samples = (
            np.load(description.with_name(f"{stem}{name}_index.npy"), mmap_mode="r") for name in ("document", "sample")
        )
        length = int(said["sequence_length"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its index files cannot be read ({error})"
    if index is None:
        return None
    epochs, rest = divmod(len(documents), index.documents)
    if rest or int(documents.max()) != index.documents - 1:
        return f"made for {int(documents.max()) + 1} documents, but {said['dataset_path']} has {index.documents}"
    if len(samples) - 1 != (index.tokens * epochs - 1) // length:
        return f"made for {len(samples) - 1} sequences, which is not what {said['dataset_path']} now gives"
    return None
