"""What a folder's file system says, as one JSON object on stdout: run in a process of its own, which it may hang."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from custom_modules.system import to_disk


def main(path: str) -> None:
    """Keys: ``folder`` (the nearest one that is there), ``device`` (of its file system), ``total`` and ``free`` bytes,
    ``clock`` (seconds that the file system's is ahead of this machine's), ``problem`` (why nothing can be written)."""
    folder = _nearest(Path(path).absolute())
    usage = shutil.disk_usage(folder)
    facts: dict[str, Any] = {
        "folder": str(folder),
        "device": folder.stat().st_dev,
        "total": usage.total,
        "free": usage.free,
    }
    facts["clock"] = facts["problem"] = None
    try:
        before = time.time()
        with tempfile.TemporaryFile(dir=folder) as file:
            created = os.fstat(file.fileno()).st_mtime
            facts["clock"] = min(created - before, 0.0) or max(created - time.time(), 0.0)
            file.write(b"x")
            file.flush()
            to_disk(file.fileno())
    except OSError as error:
        facts["problem"] = error.strerror
    print(json.dumps(facts))


def _nearest(wanted: Path) -> Path:
    for place in (wanted, *wanted.parents):
        with suppress(PermissionError):
            if place.is_dir():
                return place
    raise FileNotFoundError(wanted)


if __name__ == "__main__":
    main(sys.argv[1])
