"""Runs that lose their data where `prepare` puts other data in its place."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from custom_modules.data.manifest import Manifest
from custom_modules.data.users import DataUser, record_of, users_of
from custom_modules.errors import UserError
from custom_modules.made import listed
from data_prep.work.progress import say


def check_users(directory: Path, manifest: Manifest | None, replace: bool) -> list[DataUser]:
    """Find the runs that cannot go on once other data stands in a ``data.dir``.

    Args:
        manifest: of the data to be; None where it is not made yet, but is known to be other data.
        replace: whether that was asked for; then they are named, and nothing is raised.

    Raises:
        UserError: there is such a run.
    """
    return name_losers(directory, [user for user in users_of(directory) if user.loses(manifest)], replace)


def name_losers(directory: Path, losers: list[DataUser], replace: bool) -> list[DataUser]:
    """Name the runs that lose the data of a ``data.dir``, and return them.

    Args:
        replace: whether that was asked for.

    Raises:
        UserError: there is one, and it was not.
    """
    if not losers:
        return []
    runs = listed(user.run_dir for user in losers)
    if not replace:
        raise UserError(
            f"data.dir={directory}: {runs} was started on the data there and could not go on with other; use another "
            "data.dir, or replace it with --replace"
        )
    say(f"replacing the data of {runs}, which cannot go on with other")
    return losers


def forget(directory: Path, users: Collection[DataUser]) -> None:
    """Take runs off the record of those that use the data."""
    for user in users:
        with suppress(OSError):
            record_of(directory, user.run_dir).unlink()
