"""`danube check-data`: every fault of a dataset that megatron-core does not notice when it reads. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data import layout
from custom_modules.data.chat_manifest import find_chat_manifest
from custom_modules.data.check_chat import check_chat
from custom_modules.data.check_taught import check_taught
from custom_modules.data.index import DTYPES, Index, open_index
from custom_modules.data.index_cache import ENTRIES, why_stale
from custom_modules.data.manifest import SCORES, Manifest, Part, read_manifest
from custom_modules.data.scores import count_scores
from custom_modules.errors import UserError
from custom_modules.files import PARTIAL, sha256_of
from custom_modules.folder_lock import LOCKS
from custom_modules.made import NOTE
from custom_modules.one_thread import Answer, OneThread
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES

BLOCK = 1 << 22
"""Bytes of a ``.bin`` in memory at once."""
QUICK_BLOCKS = 16
_BESIDE = (layout.RAW, layout.REMOVED, layout.ONLY, layout.USED_BY)
PREPARED = "delete it and run `danube prepare` again, or copy it again"
PLAIN = "make or copy it again"
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
    if (chat := find_chat_manifest(directory)) is not None:
        return (Problem(path, fault) for path, fault in check_chat(chat, quick))
    return _check(directory, quick, runs, _Vocabulary(vocab_size, eos_id), advance)


def _check(
    directory: Path, quick: bool, runs: Sequence[Path], given: _Vocabulary, advance: Advance
) -> Iterator[Problem]:
    manifest, tokenizer = yield from _check_manifest(directory)
    works = {directory / name for name in (layout.WORK, layout.TEACH_WORK)}
    files = [path for path in directory.rglob("*") if path.is_file() and not works & {*path.parents}]
    parts = {part.prefix: part for _, _, part in manifest.datasets()} if manifest else {}
    prefixes = parts or {path.with_suffix("") for path in files if path.suffix in (".bin", ".idx")}
    if not prefixes:
        yield Problem(directory, "no .bin and .idx files in it; run `danube prepare`, or give another folder")
    known = manifest.tokenizer if manifest else tokenizer
    vocabulary = _Vocabulary(
        known.vocab_size if known and given.size is None else given.size,
        known.eos_id if known and given.eos_id is None else given.eos_id,
    )
    indexes = {}
    for prefix in sorted(prefixes):
        index = yield from _check_dataset(prefix, parts.get(prefix), vocabulary, quick, advance)
        if prefix.is_relative_to(directory):
            indexes[prefix.relative_to(directory)] = index
    if manifest:
        for _, _, part in manifest.datasets():
            for path, fault in check_taught(manifest, part, quick):
                yield Problem(path, fault)
        yield from _unnamed(directory, files, manifest, tokenizer)
    for root in (directory, *runs):
        for path in sorted(root.rglob("*-GPTDataset-*description.txt")):
            if path.parent.suffix != PARTIAL and (why := why_stale(path, indexes)):
                yield Problem(path, f"{why}; delete its folder, and the next run makes it again")


def _check_manifest(directory: Path) -> Generator[Problem, None, tuple[Manifest | None, Tokenizer | None]]:
    """The manifest and the tokenizer, as far as they can be used."""
    path, folder = directory / layout.MANIFEST, directory / layout.TOKENIZER
    manifest = None
    try:
        manifest = read_manifest(directory)
        if manifest is None and (folder.is_dir() or (directory / layout.WORK).is_dir()):
            yield Problem(path, "missing, so `danube prepare` did not finish here; run it again")
    except UserError as error:
        yield Problem(path, str(error).removeprefix(f"{path}: "))
    if manifest is None:
        libraries = [library for library, name in FILES.items() if (folder / name).is_file()]
        return None, (yield from _load_tokenizer(libraries[0], folder)) if libraries else None
    for stage in sorted(manifest.stage_names()):
        for split in ("train", "validation"):
            if not sum(part.tokens for part in manifest.stages.get(stage, {}).get(split, [])):
                yield Problem(path, f"{stage} has no {split} tokens; add text and run `danube prepare` again")
    entry = manifest.tokenizer
    tokenizer = yield from _load_tokenizer(entry.library, directory / entry.file)
    for name in ("sha256", "vocab_size", "eos_id") if tokenizer else ():
        there, said = getattr(tokenizer, name), getattr(entry, name)
        if there != said:
            yield Problem(directory / entry.file, f"{name} {there}, but the manifest says {said}; copy it again")
    return manifest, tokenizer


def _load_tokenizer(library: str, path: Path) -> Generator[Problem, None, Tokenizer | None]:
    try:
        return load_tokenizer(library, path)
    except (UserError, OSError) as error:
        yield Problem(path, f"the tokenizer cannot be used ({error}); copy it again")
    return None


def _unnamed(
    directory: Path, files: Sequence[Path], manifest: Manifest, tokenizer: Tokenizer | None
) -> Iterator[Problem]:
    mentioned = re.findall(r'"([^"\\]*)"', (directory / layout.MANIFEST).read_text())
    named = {directory / name for name in (*LOCKS, NOTE, layout.MANIFEST, *mentioned)}
    named |= {part.beside(suffix) for _, _, part in manifest.datasets() for suffix in ("bin", "idx", *part.bytes)}
    named |= set(tokenizer.files if tokenizer else (directory / layout.TOKENIZER).glob("*"))
    for path in sorted({*files} - named):
        beside = any(directory / name in path.parents for name in _BESIDE) or path.name in layout.CARD
        if not beside and "Dataset-" not in path.name:
            yield Problem(path, "not named by the manifest, so nothing reads it; move it elsewhere or delete it")
    for name, command in ((layout.WORK, "prepare"), (layout.TEACH_WORK, "teach")):
        if (directory / name).is_dir():
            yield Problem(
                directory / name, f"left by an unfinished `danube {command}`; run it again, or delete the folder"
            )


def _check_dataset(
    prefix: Path, part: Part | None, vocabulary: _Vocabulary, quick: bool, advance: Advance
) -> Generator[Problem, None, Index | None]:
    """Returns the index if it is sound in itself."""
    remedy = PREPARED if part else PLAIN
    files = {kind: prefix.with_name(f"{prefix.name}.{kind}") for kind in ("bin", "idx")}
    sizes = {kind: file.stat().st_size if file.is_file() else None for kind, file in files.items()}
    declared = {kind: part.bytes.get(kind) if part else size for kind, size in sizes.items()}
    for kind, file in files.items():
        if sizes[kind] is None:
            yield Problem(file, f"missing; {remedy}")
        elif sizes[kind] != declared[kind]:
            yield Problem(file, f"{sizes[kind]} bytes, but the manifest says {declared[kind]}; {remedy}")
    dtype = next((dtype for dtype in DTYPES.values() if part and part.dtype == dtype.name), None)
    index, sound = None, False
    if sizes["idx"] is not None and sizes["idx"] == declared["idx"]:
        try:
            index = open_index(files["idx"], dtype)
            sound = yield from _check_index(index, part, vocabulary, declared["bin"], remedy)
        except UserError as error:
            yield Problem(files["idx"], str(error).removeprefix(f"{files['idx']}: "))
        if part and not quick:
            yield from _compare_hash(files["idx"], sha256_of(files["idx"]), part.sha256.get("idx"))
    if sizes["bin"] is not None:
        dtype = index.dtype if index else dtype
        digest = hashlib.sha256() if part and not quick else None
        known = index if sound else None
        whole = yield from _scan(files["bin"], dtype, known, vocabulary, quick, digest, advance, remedy)
        if part and digest and whole and sizes["bin"] == declared["bin"]:
            yield from _compare_hash(files["bin"], digest.hexdigest(), part.sha256.get("bin"))
    if part:
        yield from _check_scores(part, quick)
    return index if sound else None


def _check_scores(part: Part, quick: bool) -> Iterator[Problem]:
    path = part.scores
    if path is None:
        return
    if not path.is_file():
        yield Problem(path, f"missing; {PREPARED}")
        return
    size, said = path.stat().st_size, part.bytes[SCORES]
    if size != said:
        yield Problem(path, f"{size} bytes, but the manifest says {said}; {PREPARED}")
        return
    try:
        rows = count_scores(path)
        if rows != part.documents:
            yield Problem(path, f"scores of {rows} documents, but the dataset has {part.documents}; {PREPARED}")
    except UserError as error:
        yield Problem(path, str(error).removeprefix(f"{path}: "))
    if not quick:
        yield from _compare_hash(path, sha256_of(path), part.sha256.get(SCORES))


def _compare_hash(path: Path, digest: str, said: str | None) -> Iterator[Problem]:
    if digest != said:
        yield Problem(path, f"altered: its SHA-256 is {digest}, but the manifest says {said}; {PREPARED}")


def _check_index(
    index: Index, part: Part | None, vocabulary: _Vocabulary, bin_bytes: int | None, remedy: str
) -> Generator[Problem, None, bool]:
    """Whether its pointers are those of its lengths.

    Args:
        bin_bytes: as the ``.bin`` should be; None if there is none.
    """
    coded = str(DTYPES.get(index.code, "of no token"))
    if part and coded != part.dtype:
        yield Problem(index.path, f"dtype code {index.code}, {coded}, but the manifest says {part.dtype}; {remedy}")
    if vocabulary.size and np.iinfo(index.dtype).max < vocabulary.size - 1:
        yield Problem(index.path, f"dtype {index.dtype} cannot hold a vocabulary of {vocabulary.size}; {remedy}")
    tokens = index.tokens
    if not tokens:
        yield Problem(index.path, f"no tokens, so training would wait for samples for ever; add text, or {remedy}")
        return False
    fault = _fault_of_pointers(index)
    if fault:
        yield Problem(index.path, f"{fault}; it is another file's, was altered, or has a wrong dtype; {remedy}")
        return False
    if part and (index.documents, tokens) != (part.documents, part.tokens):
        has, says = f"{index.documents} documents and {tokens} tokens", f"{part.documents} and {part.tokens}"
        yield Problem(index.path, f"{has}, but the manifest says {says}; {remedy}")
    end = tokens * index.dtype.itemsize
    if bin_bytes not in (None, end):
        name = index.path.with_suffix(".bin").name
        yield Problem(index.path, f"ends at byte {end} of {name}, which should have {bin_bytes}; {remedy}")
    empty = [
        start + np.flatnonzero(np.diff(index.boundaries(start, min(start + ENTRIES, index.documents))) == 0)
        for start in range(0, index.documents, ENTRIES)
    ]
    count = sum(map(len, empty))
    if count:
        first = next(int(numbers[0]) for numbers in empty if numbers.size)
        yield Problem(index.path, f"{count} of {index.documents} documents are empty, the first is {first}; {remedy}")
    return True


def _fault_of_pointers(index: Index) -> str | None:
    item, end = np.int64(index.dtype.itemsize), 0
    for start in range(0, len(index.lengths), ENTRIES):
        lengths, pointers = index.lengths[start : start + ENTRIES], index.pointers[start : start + ENTRIES]
        ends = end + np.cumsum(lengths, dtype=np.int64) * item
        wrong = np.flatnonzero((pointers != ends - lengths * item) | (lengths < 0))
        if wrong.size:
            i = int(wrong[0])
            should = ends[i] - lengths[i] * item
            return f"sequence {start + i}, of {lengths[i]} tokens, begins at byte {pointers[i]} instead of {should}"
        end = int(ends[-1])
    starts = index.document_indices
    if not len(starts) or (starts[0], starts[-1]) != (0, len(index.lengths)):
        return f"its documents do not span its {len(index.lengths)} sequences"
    for start in range(0, index.documents, ENTRIES):
        back = np.flatnonzero(np.diff(starts[start : start + ENTRIES + 1]) < 0)
        if back.size:
            return f"document {start + back[0]} ends before it begins"
    return None


def _scan(
    path: Path,
    dtype: np.dtype[Any] | None,
    index: Index | None,
    vocabulary: _Vocabulary,
    quick: bool,
    digest: hashlib._Hash | None,
    advance: Advance,
    remedy: str,
) -> Generator[Problem, None, bool]:
    """Read a ``.bin`` once, for its hash, its ids and its documents' ends.

    Args:
        dtype: None if unknown; then nothing but the hash is looked at.
        index: a sound one; None to look at no document's end.
        digest: fed with the whole file; None for no hash.

    Returns:
        Whether the file could be read to its end.
    """
    beyond, unended = _Findings(), _Findings()
    starts = range(0, path.stat().st_size, BLOCK)
    try:
        # hashlib lets go of the GIL: a block is hashed while its ids are looked at and the next one is read.
        with path.open("rb") as stream, OneThread() as hasher:
            hashed: Answer[None] | None = None
            for start in starts[:: -(-len(starts) // QUICK_BLOCKS) or 1] if quick else starts:
                stream.seek(start)
                block = stream.read(BLOCK)
                if hashed:
                    hashed.result()
                hashed = hasher.submit(digest.update, block) if digest else None
                if dtype:
                    ids = np.frombuffer(block, dtype, len(block) // dtype.itemsize)
                    _look_at_ids(ids, start // dtype.itemsize, index, vocabulary, beyond)
                    if index and vocabulary.eos_id is not None:
                        _look_at_ends(ids, start // dtype.itemsize, index, vocabulary.eos_id, unended)
                advance(len(block))
    except OSError as error:
        yield Problem(path, f"cannot be read ({error.strerror}); {remedy}")
        return False
    if beyond.count:
        bound = "below 0" if vocabulary.size is None else f"beyond the vocabulary of {vocabulary.size}"
        yield Problem(path, f"{beyond.count} token ids {bound}, the first is {beyond.first}; {remedy}")
    if unended.count:
        wanted = f"do not end in EOD ({vocabulary.eos_id})"
        yield Problem(path, f"{unended.count} documents {wanted}, the first is {unended.first}; {remedy}")
    return True


@dataclass
class _Findings:
    count: int = 0
    first: str = ""

    def add(self, count: int, first: str) -> None:
        self.first = self.first or first
        self.count += count


def _look_at_ids(
    ids: NDArray[Any], start: int, index: Index | None, vocabulary: _Vocabulary, beyond: _Findings
) -> None:
    """Find ids outside the vocabulary in a block that begins with token number ``start``."""
    largest = int(np.iinfo(ids.dtype).max)
    limit = min(vocabulary.size or largest + 1, largest + 1)
    # A negative id is a large one here, so that one pass finds both.
    unsigned = ids.view(f"u{ids.dtype.itemsize}")
    if not ids.size or int(unsigned.max()) < limit:
        return
    wrong = np.flatnonzero(unsigned >= limit)
    token = start + int(wrong[0])
    where = f" in document {index.document_at(token)}" if index else ""
    beyond.add(wrong.size, f"{ids[wrong[0]]}{where}, token {token} of the file")


def _look_at_ends(ids: NDArray[Any], start: int, index: Index, eos_id: int, unended: _Findings) -> None:
    """Find documents that end in a block that begins with token number ``start``, with another token than EOD."""
    if not ids.size or (first := index.document_at(start)) == index.documents:
        return
    last = min(index.document_at(start + ids.size - 1), index.documents - 1)
    bounds = index.boundaries(first, last + 1)
    ends = bounds[1:] - start
    # An empty document has no end of its own.
    candidates = np.flatnonzero((ends <= ids.size) & (np.diff(bounds) > 0))
    wrong = candidates[ids[ends[candidates] - 1] != eos_id]
    if wrong.size:
        unended.add(wrong.size, f"{first + wrong[0]}, which ends in {ids[ends[wrong[0]] - 1]}")
