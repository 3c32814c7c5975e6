"""The folder in which a teacher's share of one part is made: what is finished of it, and for what data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from custom_modules.data.layout import TEACH_WORK
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from data_prep.teach.shards import Shard

_MADE_OF = "made_of.json"


class Work:
    """A folder for the shards of one part, which processes on several machines share.

    Args:
        data_dir: ``data.dir``, with the part in it.
        teacher: its name.
        part: identifies the part among those of the folder.
        made_of: all that the result follows from.

    Raises:
        UserError: work on it was begun with something else.
    """

    def __init__(self, data_dir: Path, teacher: str, part: str, made_of: Mapping[str, Any]) -> None:
        self.folder = data_dir / TEACH_WORK / teacher / part
        with explained(self.folder):
            (self.folder / "done").mkdir(parents=True, exist_ok=True)
            self._check(made_of)

    def _check(self, made_of: Mapping[str, Any]) -> None:
        path = self.folder / _MADE_OF
        plain = json.loads(json.dumps(made_of))
        before = None
        with suppress(FileNotFoundError, ValueError):
            before = json.loads(path.read_bytes())
        if not isinstance(before, dict):
            whole_file(path, json.dumps(plain, indent=0).encode())
            return
        changed = [key for key in plain if before.get(key) != plain[key]]
        if changed:
            key = changed[0]
            raise UserError(
                f"{self.folder}: begun with {key}={before.get(key)}, and here it is {plain[key]}; give what it was "
                "begun with, or delete that folder to begin again"
            )

    @staticmethod
    def is_left(data_dir: Path, teacher: str, part: str) -> bool:
        """Tell whether there is such a folder, of work that is not finished to its end."""
        return (data_dir / TEACH_WORK / teacher / part).is_dir()

    @property
    def aside(self) -> Path:
        """The file that becomes the rows."""
        return self.folder / "rows"

    @property
    def is_begun(self) -> bool:
        """Whether the folder is still there: another process may have published what was in it."""
        return (self.folder / _MADE_OF).is_file()

    def is_done(self, shard: Shard) -> bool:
        """Tell whether a shard is finished."""
        return self._mark(shard).is_file()

    def finish(self, shard: Shard, result: Mapping[str, Any]) -> None:
        """Mark a shard as finished, with what its making has shown. Its content is on the disk already."""
        whole_file(self._mark(shard), json.dumps(dict(result)).encode())

    def result(self, shard: Shard) -> dict[str, Any]:
        """Return what the making of a finished shard has shown."""
        with explained(self._mark(shard)):
            read: dict[str, Any] = json.loads(self._mark(shard).read_bytes())
            return read

    def results(self, shards: Sequence[Shard]) -> list[dict[str, Any]] | None:
        """Return what the making of each shard has shown; None while one is missing."""
        if not all(map(self.is_done, shards)):
            return None
        return [self.result(shard) for shard in shards]

    def clear(self) -> None:
        """Remove the folder, and those above it that are empty then."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for above in (self.folder.parent, self.folder.parent.parent):
            with suppress(OSError):
                above.rmdir()

    def _mark(self, shard: Shard) -> Path:
        return self.folder / "done" / f"{shard.name}.json"
