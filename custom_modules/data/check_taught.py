"""Every fault of what teachers have said beside a dataset: their rows and texts. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from custom_modules.data.manifest import PREPARED, Manifest, Part
from custom_modules.distillation.record import record_bytes
from custom_modules.distillation.rows import (
    AGAIN,
    DataOfRows,
    RowsNote,
    fault_of,
    fault_of_note,
    read_rows_note,
    record_dtype,
)
from custom_modules.distillation.texts import fault_of_texts, read_texts_note
from custom_modules.errors import UserError
from custom_modules.files import sha256_of

ROWS, TEXTS_NOTE = ".rows", ".texts.json"
QUICK_BLOCKS = 16
_BLOCK = 1 << 16
"""Records that are looked at at once."""

Fault = tuple[Path, str]


def taught_files(part: Part) -> dict[str, Path]:
    """Return the files of teachers that the manifest names beside a dataset, by their suffix."""
    return {suffix: part.beside(suffix) for suffix in part.bytes if suffix not in PREPARED}


def check_taught(manifest: Manifest, part: Part, quick: bool) -> Iterator[Fault]:
    """Give the faults of all that teachers have said of one dataset.

    Args:
        quick: look at some blocks of the rows only, and compare no hashes.
    """
    data = data_of_rows(manifest, part)
    for suffix, path in taught_files(part).items():
        if not path.is_file():
            yield path, f"missing; copy it again, or {AGAIN}"
            continue
        size, said = path.stat().st_size, part.bytes[suffix]
        if size != said:
            yield path, f"{size} bytes, but the manifest says {said}; copy it again, or {AGAIN}"
            continue
        try:
            if suffix.endswith(ROWS):
                yield from _check_rows(path, suffix, data, None if quick else part.sha256.get(suffix))
                continue
            if suffix.endswith(TEXTS_NOTE):
                note = read_texts_note(path)
                teacher = suffix.removesuffix(TEXTS_NOTE)
                fault = fault_of_texts(note, teacher, data, part.documents, note.prefix_tokens)
                if fault:
                    yield path, f"{fault}; {AGAIN}"
        except UserError as error:
            yield path, str(error).removeprefix(f"{path}: ")
        if not quick:
            yield from _compare(path, sha256_of(path), part.sha256.get(suffix))


def data_of_rows(manifest: Manifest, part: Part) -> DataOfRows:
    """Return the dataset that a teacher's rows or texts beside it should be of."""
    entry, hashes = manifest.tokenizer, part.sha256
    return DataOfRows(hashes["bin"], hashes["idx"], part.tokens, entry.sha256, entry.vocab_size)


def _check_rows(path: Path, suffix: str, data: DataOfRows, said: str | None) -> Iterator[Fault]:
    """
    Args:
        said: the SHA-256 of the manifest; None: look at some blocks.
    """
    note = read_rows_note(path)
    fault = fault_of_note(note, suffix.removesuffix(ROWS), data, path.stat().st_size)
    if fault:
        yield path, f"{fault}; {AGAIN}"
        return
    starts = range(0, note.tokens, _BLOCK)
    chosen = starts if said else starts[:: max(1, len(starts) // QUICK_BLOCKS)]
    digest = hashlib.sha256()
    found = None
    with path.open("rb") as stream:
        for start in chosen:
            content = _read(stream, note, start)
            digest.update(content)
            records = np.frombuffer(content, record_dtype(note.k))
            found = found or fault_of(records["ids"], records["codes"], note.vocab_size, start)
    if found:
        yield path, f"{found}; copy it again, or {AGAIN}"
    if said:
        yield from _compare(path, digest.hexdigest(), said)


def _read(stream: BinaryIO, note: RowsNote, start: int) -> bytes:
    size = record_bytes(note.k)
    stream.seek(start * size)
    return stream.read(min(_BLOCK, note.tokens - start) * size)


def _compare(path: Path, digest: str, said: str | None) -> Iterator[Fault]:
    if digest != said:
        yield path, f"altered: its SHA-256 is {digest}, but the manifest says {said}; copy it again, or {AGAIN}"
