"""What rank 0 does for all processes, which wait for it as long as it takes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from custom_modules.errors import OwnShareError, UserError
from custom_modules.files import explained

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"""How long a process waits for another that hashes, builds or writes. One that has died is noticed at once."""

_patient: list[torch.distributed.ProcessGroup] = []


@contextmanager
def patient_group(timeout: timedelta) -> Iterator[None]:
    """Connect the processes a second time, over gloo, for waits that the default group's timeout would end. Collective.

    Args:
        timeout: for the connection.
    """
    import torch
    from torch.distributed.distributed_c10d import _set_pg_timeout

    group = torch.distributed.new_group(backend="gloo", timeout=timeout)
    _set_pg_timeout(PATIENCE, group)
    _patient.append(group)
    try:
        yield
    finally:
        _patient.remove(group)


def waiting_group() -> torch.distributed.ProcessGroup | None:
    """Return the group of all processes whose collectives wait; None, the default group, where there is none."""
    return _patient[-1] if _patient else None


def wait_for_all() -> None:
    """Wait until every process is here. Collective."""
    import torch

    torch.distributed.barrier(group=waiting_group())


def from_rank_0(value: T) -> T:
    """What rank 0 passes, on every rank. Collective."""
    import torch

    box = [value]
    torch.distributed.broadcast_object_list(box, src=0, group=waiting_group())
    return box[0]


def from_every_rank(value: T) -> list[T]:
    """What each rank passes, by rank, on every rank. Collective."""
    import torch

    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, value, group=waiting_group())
    return gathered


def on_rank_0(work: Callable[[], T]) -> T:
    """Return what rank 0's work gives, on every rank. Collective.

    Raises:
        UserError: on every rank, what rank 0 met, and what the operating system refused it.
    """
    with explained(None):
        return try_on_rank_0(work)


def try_on_rank_0(work: Callable[[], T]) -> T:
    """Do as `on_rank_0` does, for a caller who words refusals himself. Collective.

    Raises:
        UserError, OSError: on every rank, what rank 0 met.
    """
    import torch

    outcome: tuple[T | None, UserError | OSError | None] = (None, None)
    if torch.distributed.get_rank() == 0:
        try:
            outcome = (work(), None)
        except (UserError, OSError) as error:
            outcome = (None, error)
    found, problem = from_rank_0(outcome)
    if problem is not None:
        raise problem
    return cast(T, found)


@contextmanager
def own_share() -> Iterator[None]:
    """Have this process itself say what it meets: the others may have met nothing.

    Raises:
        UserError: what the operating system refuses; on ranks beside 0, whose errors are told anyway, an
            `OwnShareError` instead of it and of any other.
    """
    import torch

    try:
        with explained(None):
            yield
    except UserError as error:
        if (rank := torch.distributed.get_rank()) == 0:
            raise
        raise OwnShareError(f"process {rank} on {socket.gethostname()}: {error}") from error
