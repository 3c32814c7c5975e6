"""Where the processes of a run meet: rank 0 listens, the others connect."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from functools import partial

import torch

from custom_modules.errors import PassingError
from custom_modules.platform.world import LISTENER, World


def join(world: World, backend: str, timeout: timedelta) -> None:
    """Make torch.distributed's default group over all processes. Collective.

    Args:
        timeout: for the connection and for every collective after it.

    Raises:
        PassingError: rank 0 cannot listen, since its port is in use.
        RuntimeError: another process cannot be reached.
    """
    connect = partial(torch.distributed.init_process_group, backend, rank=world.rank, world_size=world.size)
    if world.size == 1:
        connect(store=torch.distributed.HashStore())
        return
    listener = os.environ.pop(LISTENER, None)
    try:
        if listener is None:
            connect(init_method=f"tcp://{world.master_addr}:{world.master_port}", timeout=timeout)
        else:
            store = torch.distributed.TCPStore(
                world.master_addr,
                world.master_port,
                world.size,
                is_master=world.rank == 0,
                timeout=timeout,
                master_listen_fd=int(listener) if world.rank == 0 else None,
            )
            connect(store=store, timeout=timeout)
    except torch.distributed.DistNetworkError as error:
        if world.rank == 0 and "EADDRINUSE" in str(error):
            raise PassingError(_in_use(world)) from None
        raise


def _in_use(world: World) -> str:
    host = socket.gethostname()
    if os.environ.get("MASTER_PORT"):
        return f"MASTER_PORT={world.master_port}: something on {host} listens there already; give another port"
    job, restart = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT") or 0
    return (
        f"port {world.master_port}: something on {host} listens there already; it follows from job {job} and restart "
        f"{restart}, and another restart or job has another: try again, or set MASTER_PORT"
    )
