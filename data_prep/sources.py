"""The files that ``data.input`` means, and what identifies each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from custom_modules.errors import UserError

Format = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt"]

FORMATS: tuple[Format, ...] = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt")


@dataclass(frozen=True)
class Source:
    """An input file as it was when it was found."""

    path: str
    """As it is reached from the working directory."""
    bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Source:
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns)


def format_of(path: str | Path) -> Format | None:
    """The format by the file's suffix; None for a file that is not an input."""
    name = Path(path).name.lower()
    return next((known for known in FORMATS if name.endswith("." + known)), None)


def find_sources(inputs: Sequence[Path], exclude: Path) -> tuple[list[Source], int]:
    """List files as given, and those of a folder and its sub-folders in the order of their paths.

    Hidden files and folders are passed over. A file that is reached twice counts once.

    Args:
        inputs: files and folders.
        exclude: a folder to leave out, even inside one of ``inputs``: where the result goes.

    Returns:
        The sources, and how many files of the folders have a suffix that is not an input's.

    Raises:
        UserError: an input that does not exist or whose suffix is unknown, or no input file at all.
    """
    found: dict[Path, Source] = {}
    ignored = 0
    for path in inputs:
        if path.is_dir():
            for inner in _walk(path, exclude.resolve()):
                if format_of(inner) is None:
                    ignored += 1
                else:
                    found.setdefault(inner.resolve(), Source.of(inner))
        elif not path.exists():
            raise UserError(f"data.input={path}: no such file or folder")
        elif format_of(path) is None:
            raise UserError(f"data.input={path}: unknown format; use {_suffixes()}")
        else:
            found.setdefault(path.resolve(), Source.of(path))
    if not found:
        raise UserError(f"data.input={', '.join(map(str, inputs))}: holds no {_suffixes()} file")
    return list(found.values()), ignored


def _walk(folder: Path, exclude: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if name[0] != "." and (here / name).resolve() != exclude)
        yield from (here / name for name in sorted(names) if name[0] != ".")


def _suffixes() -> str:
    return " ".join("." + known for known in FORMATS)
