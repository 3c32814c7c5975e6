"""A lock where the file system has no flock: a file that says who holds it, made by an atomic link.

It stays when its process is killed; the next start takes it over where that process is surely gone.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from custom_modules.lock_holder import Holder, read_holder

HELD = ".danube.lock.held"
TAKING_OVER = ".danube.lock.taking_over"
"""Made in the same way, for the moment in which one of several starts takes a lock over."""


@contextmanager
def link_lock(folder: Path, key: str) -> Iterator[None]:
    """Hold a folder until the context ends.

    Args:
        folder: one that is there.
        key: the config key that chose the folder, for the message.

    Raises:
        UserError: another process holds it, or may; or the file system has no links either.
    """
    mine, own = Holder.this_process(), folder / f".danube.lock.{uuid.uuid4().hex}"
    whole_file(own, mine.as_bytes())
    try:
        with explained(folder / HELD):
            while not _link(own, folder / HELD):
                check_link_lock(folder, key)
                _take_over(own, folder)
    finally:
        own.unlink(missing_ok=True)
    try:
        yield
    finally:
        if read_holder(folder / HELD) == mine:
            with suppress(OSError):
                (folder / HELD).unlink()


def check_link_lock(folder: Path, key: str) -> None:
    """Make sure that no process holds a folder by a link.

    Raises:
        UserError: one does, or may.
    """
    held = folder / HELD
    holder = read_holder(held)
    if not held.exists() or (holder and holder.is_gone()):
        return
    who = str(holder) if holder else "another process"
    raise UserError(
        f"{key}: {folder} is in use by {who}; wait for it, stop it, or use another; where it has surely ended, "
        f"remove {held}"
    )


def _link(own: Path, name: Path) -> bool:
    """Give a file a second name that is not taken; whether it has it. A server's answer may be lost on the way."""
    try:
        os.link(own, name)
    except FileExistsError:
        with suppress(OSError):
            return own.samefile(name)
        return False
    return True


def _take_over(own: Path, folder: Path) -> None:
    """Put this process's lock in the place of one whose process is gone; another start may be about to do so."""
    held, turn = folder / HELD, folder / TAKING_OVER
    if not _link(own, turn):
        other = read_holder(turn)
        if other is not None and other.is_gone():
            turn.unlink(missing_ok=True)
        time.sleep(0.05)
        return
    try:
        holder = read_holder(held)
        if holder is not None and holder.is_gone():
            held.unlink()
    finally:
        turn.unlink(missing_ok=True)
