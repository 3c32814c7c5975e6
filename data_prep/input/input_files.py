"""The files that ``data.input`` means, and what identifies each."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custom_modules.config.schema import TEXT
from custom_modules.errors import UserError
from custom_modules.text import spelled
from custom_modules.threads import in_threads
from data_prep.input.damage import unreadable
from data_prep.input.formats import SUFFIXES, format_of
from data_prep.input.json_file import why_no_lines
from data_prep.input.units import Segment
from data_prep.input.walk import PassedOver, Walk, special_kind

_THREADS = 16
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
"""How an address begins; `Path` makes one slash of two."""
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputFile:
    """An input file as it was when it was found."""

    path: str
    """The path that reaches it from the working directory, and opens it whatever bytes its name has."""
    bytes: int
    modified_ns: int
    source: str = TEXT
    """The name of its source, as in ``data.sources``."""

    @classmethod
    def of(cls, path: Path, source: str = TEXT) -> InputFile:
        return cls.found(path, path.stat(), source)

    @classmethod
    def found(cls, path: Path, status: os.stat_result, source: str) -> InputFile:
        return cls(str(path), status.st_size, status.st_mtime_ns, source)

    @property
    def shown(self) -> str:
        """The path as it is shown and stored: see `custom_modules.text.spelled`."""
        return spelled(self.path)

    @property
    def identity(self) -> dict[str, Any]:
        """Return plain values that differ when the file does."""
        return {"path": self.shown, "bytes": self.bytes, "modified_ns": self.modified_ns, "source": self.source}


@dataclass(frozen=True)
class DamagedFile:
    """A file that could not be read, whole or in part."""

    path: str
    """As it is shown."""
    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Listing:
    """What the inputs hold."""

    files: list[InputFile] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    unreadable: list[DamagedFile] = field(default_factory=list)
    """Files of which the system does not even tell the size."""


def find_input_files(
    inputs: Mapping[str, Sequence[Path]],
    exclude: Path | None,
    text_key: str | None = "text",
    is_prepared: Callable[[Path], bool] = lambda _: False,
    takes_arrays: bool = False,
    key_end: str = "",
) -> Listing:
    """List files as given, and those of a folder and its sub-folders in the order of their paths.

    Hidden files and folders are passed over, and so are ``.json`` files that are no lines of objects with the text's
    field. Links are followed. A file that is reached twice counts once.

    Args:
        inputs: files and folders of each source.
        exclude: a folder to leave out, even inside one of ``inputs``, if any: where the result goes.
        text_key: the text's field; None: any object will do.
        is_prepared: whether a folder inside one of ``inputs`` is an earlier result, to be passed over.
        takes_arrays: whether a ``.json`` file that is one array of objects is an input too.
        key_end: what a source's key ends with behind its name, for messages.

    Raises:
        UserError: an input that does not exist or whose suffix is unknown, a folder that cannot be listed, a source
            without a file, or a file of two.
    """
    listing, found = Listing(), dict[str, InputFile]()
    for name, paths in inputs.items():
        key = "data.input" if name == TEXT else f"data.sources.{name}{key_end}"
        before = len(found) + len(listing.unreadable)
        for path in paths:
            if _is_folder(path, key):
                walk = Walk(path, exclude, is_prepared)
                listing.passed_over.extend(walk.passed_over)
                files = _files_of_folder(walk.files, name, text_key, takes_arrays, listing)
            else:
                files = [_given_file(path, key, name, text_key, takes_arrays)]
            for file in files:
                known = found.setdefault(os.path.realpath(file.path), file)
                if known.source != name:
                    other = f"data.sources.{known.source}{key_end}"
                    raise UserError(f"{key}={spelled(path)}: {file.shown} is in {other} too; leave it out of one")
        if len(found) + len(listing.unreadable) == before:
            raise UserError(f"{key}={', '.join(map(spelled, paths))}: holds no {SUFFIXES} file")
    listing.files.extend(found.values())
    return listing


def _is_folder(path: Path, key: str) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        reason = _why_not_there(path)
    except OSError as error:
        reason = unreadable(path, error).reason
    raise UserError(f"{key}={spelled(path)}: {reason}")


def _why_not_there(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {spelled(path.readlink())}, where nothing is"
    if address := _ADDRESS.match(str(path)):
        what = f"an address ({address[1]}://...), and only local files are read; "
        if address[1].lower() == "file":
            return f"{what}give the path alone, without file://"
        return f"{what}download it first, and give the file or its folder"
    if _PATTERN.search(str(path)):
        return (
            "no such file or folder, and a pattern is not expanded here; give the folder, of which every file of a "
            "known suffix is read, or each file by its name"
        )
    return "no such file or folder"


def _given_file(path: Path, key: str, source: str, text_key: str | None, takes_arrays: bool) -> InputFile:
    where = f"{key}={spelled(path)}"
    if special := special_kind(path.stat().st_mode):
        raise UserError(f"{where}: {special}, which is read only once; put its text into a file")
    kind = format_of(path)
    if kind is None:
        raise UserError(f"{where}: unknown format; use {SUFFIXES}")
    file = InputFile.of(path, source)
    if kind.may_be_one_value and (other := why_no_lines(Segment.whole(file), text_key, takes_arrays)):
        make = f"make lines of it: {other.remedy}" if other.remedy else "give JSON lines"
        raise UserError(f"{where}: {other.what}, no JSON lines; {make}")
    return file


def _files_of_folder(
    paths: Sequence[Path], source: str, text_key: str | None, takes_arrays: bool, listing: Listing
) -> list[InputFile]:
    """The input files among those of a folder; the others go into the listing."""
    files: list[InputFile] = []
    for found in in_threads(lambda path: _look_at(path, source, text_key, takes_arrays), paths, _THREADS):
        if isinstance(found, InputFile):
            files.append(found)
        elif isinstance(found, PassedOver):
            listing.passed_over.append(found)
        else:
            listing.unreadable.append(found)
    return files


def _look_at(path: Path, source: str, text_key: str | None, takes_arrays: bool) -> InputFile | PassedOver | DamagedFile:
    kind = format_of(path)
    try:
        status = path.stat()
    except OSError as error:
        is_dangling = error.errno == errno.ENOENT and path.is_symlink()
        reason = "it is a link to nothing" if is_dangling else unreadable(path, error).reason
        return DamagedFile(spelled(path), source, reason) if kind else PassedOver(path, reason)
    if special := special_kind(status.st_mode):
        return PassedOver(path, special)
    if kind is None:
        return PassedOver.by_suffix(path, status.st_size)
    file = InputFile.found(path, status, source)
    if kind.may_be_one_value and (other := why_no_lines(Segment.whole(file), text_key, takes_arrays)):
        return PassedOver(path, f"{kind.suffix}, {other.what}", status.st_size, other.remedy)
    return file
