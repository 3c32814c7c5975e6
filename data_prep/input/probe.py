"""What is wrong with a file as far as its first bytes or its footer tell, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.threads import in_threads
from data_prep.input.compressed import DecompressedFile
from data_prep.input.content import HEAD_BYTES, what_else
from data_prep.input.damage import EMPTY, head_of, unreadable
from data_prep.input.documents import Damage
from data_prep.input.formats import format_of
from data_prep.input.input_files import DamagedFile, InputFile
from data_prep.input.parquet import DamagedError, check_columns, open_parquet

_THREADS = 16
_UNPACKED = 1 << 16
"""Bytes of a compressed file that are decoded, and of what comes out at a time."""


def probe_files(files: Sequence[InputFile], text_key: str, url_key: str | None) -> list[DamagedFile]:
    """Look at every file and return those that cannot be read, whole or in part, as far as that can be seen.

    Args:
        text_key, url_key: as `data_prep.input.readers.read_segment` has them.

    Raises:
        UserError: a Parquet file without a column of texts, or with two of its name.
    """
    found = in_threads(lambda file: _probe_or_mistake(file, text_key, url_key), files, _THREADS)
    damaged, mistakes = [], []
    for file, problem in zip(files, found, strict=True):
        if isinstance(problem, Damage):
            damaged.append(DamagedFile(file.shown, file.source, problem.reason))
        elif problem is not None:
            mistakes.append(problem)
    if mistakes:
        others = f" (and {len(mistakes) - 1:,} more like it)" if len(mistakes) > 1 else ""
        raise UserError(f"{mistakes[0]}{others}")
    return damaged


def _probe_or_mistake(file: InputFile, text_key: str, url_key: str | None) -> Damage | UserError | None:
    try:
        return probe(file, text_key, url_key)
    except UserError as error:
        return error


def probe(file: InputFile, text_key: str, url_key: str | None) -> Damage | None:
    """Look at one file: see `probe_files`."""
    kind = format_of(file.path)
    assert kind is not None
    if kind.layout == "parquet":
        try:
            with open_parquet(file.path) as opened:
                check_columns(opened, file.path, text_key, url_key)
        except DamagedError as error:
            return error.damage
        return None
    try:
        head = head_of(file.path)
        if kind.codec and not head:
            return Damage(EMPTY)
        if wrong := what_else(head, kind):
            return Damage(f"it is {wrong}")
        if not kind.codec:
            return None
        with DecompressedFile(Path(file.path), kind.codec) as stream:
            begins = b""
            for block in iter(lambda: stream.read(_UNPACKED), b""):
                begins += block[: HEAD_BYTES - len(begins)]
                if stream.position > _UNPACKED:
                    break
            if wrong := what_else(begins, kind, is_unpacked=True):
                return Damage(f"it holds {wrong}")
            return Damage(stream.damage) if stream.damage else None
    except OSError as error:
        return unreadable(file.path, error)
