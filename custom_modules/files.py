"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from custom_modules.errors import UserError


def publish(files: Mapping[Path, bytes]) -> None:
    """Write all files aside, then rename each into place.

    Raises:
        UserError: a file that cannot be written; what was there before stands.
    """
    aside = {path: path.with_name(f".{path.name}.partial") for path in files}
    try:
        for path, partial in aside.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                stream.write(files[path])
                stream.flush()
                os.fsync(stream.fileno())
        for path, partial in aside.items():
            partial.replace(path)
    except OSError as error:
        for partial in aside.values():
            with suppress(OSError):
                partial.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another folder or make room") from None


def sync(path: Path) -> None:
    """Put a file's content, or the names inside a folder, on the disk, so that a power cut spares them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
