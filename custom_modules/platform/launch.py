"""Starts a node's worker processes where neither torchrun nor Slurm has: as NeMo's trainer does. Needs no torch."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from custom_modules.errors import UserError

LAUNCHER = "DANUBE_LAUNCHER_PID"
FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
PR_SET_PDEATHSIG = 1
PATIENCE = 2.0
"""Seconds that the other workers have to end by themselves once one has failed."""


def check_single_node(num_nodes: int) -> None:
    """Raises UserError for more nodes than the one that `launch` starts processes on."""
    if num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={num_nodes}: start one process per device with srun (see slurm/) or torchrun; a plain "
            "command starts a single node only"
        )


def launch(devices: int, arguments: Sequence[str], threads: int) -> int:
    """Run ``python -m custom_modules.cli ARGUMENTS`` once per device and wait.

    Stop signals are passed on, so that the workers finish their step and save. When a worker fails the others are
    killed, since they would wait for it; when this process dies, so do they.

    Returns:
        The exit code of the first worker that failed; 0 if none did.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "custom_modules.cli", *arguments]
    workers: list[subprocess.Popen[bytes]] = []

    early: list[int] = []
    all_started = False

    def forward(number: int, frame: FrameType | None) -> None:
        if not all_started:
            early.append(number)
            return
        for worker in workers:
            worker.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        for rank in range(devices):
            environment = {
                "OMP_NUM_THREADS": str(threads),
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(devices),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                LAUNCHER: str(os.getpid()),
            }
            workers.append(subprocess.Popen(command, env=environment, start_new_session=True))
        all_started = True
        for number in early:
            forward(number, None)
        return _wait(workers)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[subprocess.Popen[bytes]]) -> int:
    """Until all have ended, or a while after one failed: those that stop on a signal all end by themselves."""
    deadline, code = float("inf"), 0
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
        ended = [worker.returncode for worker in workers if worker.poll() is not None]
        failed = [returncode for returncode in ended if returncode != 0]
        if failed and code == 0:
            code = failed[0]
            deadline = time.monotonic() + PATIENCE
    failed = [worker.returncode for worker in workers if worker.poll() not in (None, 0)]
    code = code or (failed[0] if failed else 0)
    return 128 - code if code < 0 else code


def patience() -> float:
    """Seconds in which a worker that fails because another did is ended from outside: by our launcher surely, which
    first sees the other one to its end; srun and torchrun are quicker."""
    return (5 if LAUNCHER in os.environ else 2) * PATIENCE


def die_with_launcher() -> None:
    """In a worker: be killed when the launcher is, so that no orphan holds the run's folder. Linux only."""
    launcher = os.environ.get(LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(launcher):
        os.kill(os.getpid(), signal.SIGKILL)
