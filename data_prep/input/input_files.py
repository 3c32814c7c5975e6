"""The files that ``data.input`` means, and what identifies each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from custom_modules.config.schema import TEXT
from custom_modules.errors import UserError

Format = Literal["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt"]

FORMATS: tuple[Format, ...] = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt")


@dataclass(frozen=True)
class InputFile:
    """An input file as it was when it was found."""

    path: str
    """The path that reaches it from the working directory."""
    bytes: int
    modified_ns: int
    source: str = TEXT
    """The name of its source, as in ``data.sources``."""

    @classmethod
    def of(cls, path: Path, source: str = TEXT) -> InputFile:
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns, source)


def format_of(path: str | Path) -> Format | None:
    """The format by the file's suffix; None for a file that is not an input."""
    name = Path(path).name.lower()
    return next((known for known in FORMATS if name.endswith("." + known)), None)


def find_input_files(inputs: Mapping[str, Sequence[Path]], exclude: Path) -> tuple[list[InputFile], int]:
    """List files as given, and those of a folder and its sub-folders in the order of their paths.

    Hidden files and folders are passed over. A file that is reached twice counts once.

    Args:
        inputs: files and folders of each source.
        exclude: a folder to leave out, even inside one of ``inputs``: where the result goes.

    Returns:
        The files, and how many files of the folders have a suffix that is not an input's.

    Raises:
        UserError: an input that does not exist or whose suffix is unknown, a source without a file, or a file of two.
    """
    found: dict[Path, InputFile] = {}
    ignored = 0
    for name, paths in inputs.items():
        key = "data.input" if name == TEXT else f"data.sources.{name}"
        before = len(found)
        for path in paths:
            files, passed_over = _files(path, exclude, key)
            ignored += passed_over
            for file in files:
                known = found.setdefault(file.resolve(), InputFile.of(file, name))
                if known.source != name:
                    raise UserError(f"{key}={path}: {file} is in data.sources.{known.source} too; leave it out of one")
        if len(found) == before:
            raise UserError(f"{key}={', '.join(map(str, paths))}: holds no {_suffixes()} file")
    return list(found.values()), ignored


def _files(path: Path, exclude: Path, key: str) -> tuple[list[Path], int]:
    """The input files that a path stands for, and how many others its folder has."""
    if path.is_dir():
        every = list(_walk(path, exclude.resolve()))
        known = [file for file in every if format_of(file) is not None]
        return known, len(every) - len(known)
    if not path.exists():
        raise UserError(f"{key}={path}: no such file or folder")
    if format_of(path) is None:
        raise UserError(f"{key}={path}: unknown format; use {_suffixes()}")
    return [path], 0


def _walk(folder: Path, exclude: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if name[0] != "." and (here / name).resolve() != exclude)
        yield from (here / name for name in sorted(names) if name[0] != ".")


def _suffixes() -> str:
    return " ".join("." + known for known in FORMATS)
