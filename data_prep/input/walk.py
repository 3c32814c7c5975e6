"""All that lies in a folder: its files, and what is passed over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from custom_modules.errors import UserError
from custom_modules.text import spelled

HIDDEN = "hidden, with a dot before the name"
_SPECIAL = {
    stat.S_ISFIFO: "a FIFO",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@dataclass(frozen=True)
class PassedOver:
    """Something in an input folder that is not read."""

    path: Path
    what: str
    """A suffix, or what it is in words."""
    bytes: int | None = None
    """None of what has no size of its own, such as a folder."""
    remedy: str | None = None
    """How it could be read."""
    is_named: bool = True
    """Whether each such is told by its name, or only the first and their number."""

    @classmethod
    def by_suffix(cls, path: Path, size: int) -> PassedOver:
        """Return a file of so many bytes that is passed over for its suffix."""
        suffix = path.suffix.lower()
        return cls(path, spelled(suffix) if suffix else "without a suffix", size, is_named=False)


def special_kind(mode: int) -> str | None:
    """Say what a file is that holds no bytes of its own; None for a regular file."""
    return next((kind for test, kind in _SPECIAL.items() if test(mode)), None)


class Walk:
    """The files of a folder and its sub-folders, those behind links among them.

    A link to a folder is followed unless that is read anyway, by its own path or through an earlier link. Hidden files
    and folders are passed over.

    Args:
        root: where to begin.
        exclude: a folder to leave out without a word, if any: where the result goes.
        is_prepared: whether a folder below ``root`` is a result of earlier work, to be passed over.

    Raises:
        UserError: a folder that cannot be listed.
    """

    def __init__(self, root: Path, exclude: Path | None, is_prepared: Callable[[Path], bool]) -> None:
        self._exclude, self._is_prepared = exclude and os.path.realpath(exclude), is_prepared
        self._seen: set[tuple[int, int]] = set()
        self.passed_over: list[PassedOver] = []
        self.files: list[Path] = []
        """In the order of their paths, a folder's own before those of its sub-folders."""
        links = self._list(root)
        if links:
            self._follow(links, [])
            self.files.sort(key=_in_order)

    def _list(self, top: Path) -> list[Path]:
        """Add the files of a folder and of those below it, and return the links to folders among them."""
        links: list[Path] = []
        for parent, folders, names in os.walk(top, onerror=_cannot_be_listed):
            here = Path(parent)
            identity = _identity(here)
            if identity in self._seen:
                folders.clear()
                continue
            self._seen.add(identity)
            hidden = sorted(name for name in (*folders, *names) if name[0] == ".")
            self.passed_over += [PassedOver(here / name, HIDDEN, is_named=False) for name in hidden]
            self.files += [here / name for name in sorted(names) if name[0] != "."]
            inner = [here / name for name in sorted(folders) if name[0] != "."]
            links += filter(Path.is_symlink, inner)
            folders[:] = [path.name for path in inner if not path.is_symlink() and self._is_wanted(path)]
        return links

    def _follow(self, links: Sequence[Path], above: Sequence[Path]) -> None:
        """Add the files behind links.

        Args:
            above: the links that led there.
        """
        for link in links:
            if any(_holds(link, place) for place in (link, *above)):
                self.passed_over.append(PassedOver(link, "a link to a folder that it lies in"))
            elif _identity(link) not in self._seen and self._is_wanted(link):
                self._follow(self._list(link), [*above, link])

    def _is_wanted(self, folder: Path) -> bool:
        if os.path.realpath(folder) == self._exclude:
            return False
        if self._is_prepared(folder):
            self.passed_over.append(PassedOver(folder, "an earlier data.dir"))
            return False
        return True


def _in_order(path: Path) -> list[tuple[bool, str]]:
    *folders, name = path.parts
    return [*((True, folder) for folder in folders), (False, name)]


def _holds(link: Path, place: Path) -> bool:
    """Whether the folder that a link leads to holds a place."""
    return Path(os.path.realpath(place.parent)).is_relative_to(os.path.realpath(link))


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        _cannot_be_listed(error)
    return status.st_dev, status.st_ino


def _cannot_be_listed(error: OSError) -> NoReturn:
    raise UserError(
        f"{spelled(error.filename)}: cannot be listed ({error.strerror}); make that possible (chmod u+rx), or take it "
        "out of the input"
    ) from error
