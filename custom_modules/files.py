"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


@contextmanager
def published_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Give a new folder beside ``target`` to write into, and rename it to ``target`` when all went well.

    Args:
        replace: put it in the place of what is there.

    Raises:
        UserError: ``target`` is there and not to be replaced, or the disk refuses; nothing is left of the new folder,
            nor of those above it that were made for it.
    """
    if target.exists() and not replace:
        raise UserError(f"{target}: already there; give another folder, or remove it first")
    aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    replaced = target.with_name(f".{target.name}.{os.getpid()}.replaced")
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        aside.mkdir(parents=True)
        yield aside
        for path in (*aside.rglob("*"), aside):
            sync(path)
        if target.exists():
            target.rename(replaced)
        aside.rename(target)
        sync(target.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}); put that right and run it again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        if not target.exists():
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()


def sync(path: Path) -> None:
    """Put a file's content, or the names inside a folder, on the disk, so that a power cut spares them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
