"""A file that defines what a step decides, by its content rather than its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import explained, sha256_of


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A path, the option that names it, such as ``data.steps.language.model``, and the SHA-256 of its content."""

    key: str
    path: str
    sha256: str

    @classmethod
    def of(cls, key: str, path: str | Path, remedy: str) -> PinnedFile:
        """Pin a file as it is now.

        Args:
            remedy: for the message: what to do if there is no such file.

        Raises:
            UserError: there is no such file, or it cannot be read.
        """
        place = Path(path).absolute()
        if not place.is_file():
            raise UserError(f"{key}={path}: no such file; {remedy}")
        with explained(place):
            return cls(key, str(place), sha256_of(place))

    def unchanged(self) -> Path:
        """Return the path, if the file is as it was when it was pinned.

        Raises:
            UserError: the file is gone, or holds something else than when the step was made.
        """
        if not Path(self.path).is_file():
            raise UserError(f"{self.key}={self.path}: no longer there; put the file back")
        with explained(Path(self.path)):
            if sha256_of(Path(self.path)) != self.sha256:
                raise UserError(f"{self.key}={self.path}: changed since the command began; run the same command again")
        return Path(self.path)
