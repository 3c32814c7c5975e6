"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import sync


@contextmanager
def published_folder(target: Path, replace: bool = False) -> Iterator[Path]:
    """Give a new folder beside ``target`` to write into, and rename it to ``target`` when all went well.

    Args:
        replace: put it in the place of what is there.

    Raises:
        UserError: ``target`` is there and not to be replaced, or the disk refuses; nothing is left of the new folder.
    """
    if target.exists() and not replace:
        raise UserError(f"{target}: already there; give another folder, or remove it first")
    aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    replaced = target.with_name(f".{target.name}.{os.getpid()}.replaced")
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
