"""Starts a node's worker processes where neither torchrun nor Slurm has: as NeMo's trainer does. Needs no torch."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from custom_modules.errors import UserError
from custom_modules.platform.world import LISTENER, LISTENING, Pod
from custom_modules.signal_handlers import handling
from custom_modules.system import end_with, thread_count

LAUNCHER = "DANUBE_LAUNCHER_PID"
FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
NVIDIA_DRIVER = Path("/proc/driver/nvidia")
PATIENCE = 2.0
"""Seconds that the other workers have to end by themselves once one has failed."""


def check_pod(pod: Pod, devices: int, num_nodes: int) -> None:
    """Raises UserError for other pods, or processes in each, than the config describes."""
    if (pod.processes, pod.count) != (devices, num_nodes):
        raise UserError(
            f"trainer.devices={devices}, trainer.num_nodes={num_nodes}: this is one of {pod.count} pod(s) of "
            f"{pod.processes} processes (WORLD_SIZE, PET_NPROC_PER_NODE); set trainer.devices={pod.processes} "
            f"trainer.num_nodes={pod.count}, or replicas and nprocPerNode of the job"
        )


def check_single_node(num_nodes: int) -> None:
    """Raises UserError for more nodes than the one that `launch` starts processes on."""
    if num_nodes > 1:
        raise UserError(
            f"trainer.num_nodes={num_nodes}: start one process per device with srun (see slurm/) or torchrun; a plain "
            "command starts a single node only"
        )


def launch(
    devices: int,
    arguments: Sequence[str],
    threads: int,
    import_once: Callable[[], Callable[[], int]] | None = None,
    killed: Callable[[int, int], None] = lambda rank, number: None,
    pod: Pod | None = None,
) -> int:
    """Run ``python -m custom_modules.cli ARGUMENTS`` once per device and wait.

    Stop signals are passed on, so that the workers finish their step and save. When a worker fails the others are
    killed, since they would wait for it; when this process dies, so do they.

    Args:
        import_once: imports, where `may_fork`, what a worker needs, and returns what it does: the workers are forked
            from this process, and import nothing again. A worker begins with the stop signals blocked, and has them
            once it has called `custom_modules.training.signals.stop_requests`. Where the imports leave a thread
            behind, nothing is forked.
        killed: called with the rank of the first worker that a signal has ended which was not passed on to it, and
            with the signal's number.
        pod: which of several this is; None: the only node there is.

    Returns:
        The exit code of the first worker that failed; 0 if none did.
    """
    workers: list[Worker] = []
    early: list[int] = []
    passed_on: set[int] = set()
    all_started = False

    def forward(number: int, frame: FrameType | None) -> None:
        passed_on.add(number)
        if not all_started:
            early.append(number)
            return
        for worker in workers:
            worker.send_signal(number)

    with handling(FORWARDED, forward) as previous:
        try:
            work = import_once() if import_once else None
            forks = work is not None and thread_count() == 1
            if forks:
                gc.freeze()  # else a collection writes to the pages that the processes share
            with bound_socket() as listener:
                for rank in range(devices):
                    place = _place(rank, devices, listener) if pod is None else _place_in_pod(rank, pod)
                    if work is not None and forks:
                        pid = _fork(dict(previous))
                        if pid == 0:
                            workers.clear()
                            previous.clear()
                            (listener.close if rank else listener.detach)()
                            os.environ.update(place)
                            sys.exit(work())
                        workers.append(ForkedWorker(pid))
                    else:
                        environment = {"OMP_NUM_THREADS": str(threads), **os.environ, **place}
                        command = [sys.executable, "-m", "custom_modules.cli", *arguments]
                        files = () if rank else (listener.fileno(),)
                        started = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=files)
                        workers.append(started)
            all_started = True
            for number in early:
                forward(number, None)
            code = _wait(workers)
            for rank, worker in enumerate(workers):
                number = code - 128
                if worker.poll() == -number and number not in passed_on:
                    killed(rank, number)
                    break
            return code
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()


def _place(rank: int, devices: int, listener: socket.socket) -> dict[str, str]:
    """Return what a worker's environment says of its place among them."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(listener.getsockname()[1]),
        LAUNCHER: str(os.getpid()),
        LISTENER: str(listener.fileno()),
    }


def _place_in_pod(local_rank: int, pod: Pod) -> dict[str, str]:
    return {
        "RANK": str(pod.rank * pod.processes + local_rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(pod.count * pod.processes),
        "MASTER_ADDR": pod.master_addr,
        "MASTER_PORT": str(pod.master_port),
        LAUNCHER: str(os.getpid()),
    }


def bound_socket() -> socket.socket:
    """Bind a socket to a port of 127.0.0.1, one of `LISTENING`, so that nobody takes it before a worker listens."""
    while True:
        bound = socket.socket()
        try:
            bound.bind(("127.0.0.1", LISTENING.start + secrets.randbelow(len(LISTENING))))
        except OSError:
            bound.close()
        else:
            return bound


def free_port() -> int:
    """Find a port of 127.0.0.1 on which a process that is started next can listen.

    It is one of `LISTENING`: an outgoing connection could take another in the seconds until the process has imported
    what it needs.
    """
    with bound_socket() as probe:
        return int(probe.getsockname()[1])


def may_fork(accelerator: str) -> bool:
    """Whether processes may be forked once torch is imported: not where it may have spoken to a GPU, nor where the
    system does not say how many threads there are.

    Args:
        accelerator: ``trainer.accelerator``.
    """
    there_is_a_gpu = accelerator == "gpu" or (accelerator == "auto" and NVIDIA_DRIVER.exists())
    return thread_count() is not None and not there_is_a_gpu


class Worker(Protocol):
    """A process that was started: the part of ``subprocess.Popen`` that the launcher needs."""

    returncode: int | Any

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""

    def wait(self) -> int:
        """Return the exit code once the process has ended."""

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process unless it has ended."""

    def kill(self) -> None:
        """End the process at once unless it has ended."""


class ForkedWorker:
    """A child of this process that runs no program of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        code = self._reap(0)
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        """A signal's handler may come in between and reap the child first: then it has noted the code."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                return self.returncode
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _fork(handlers: Mapping[signal.Signals, Any]) -> int:
    """Fork a process that leads a session of its own and has these handlers, with the signals blocked; 0 in it.

    A stop that comes before the process can save is kept for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    else:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pid


def _wait(workers: Sequence[Worker]) -> int:
    """Wait until all have ended, or a while after one failed: those that stop on a signal all end by themselves."""
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
    """Have this worker killed when the launcher is, so that no orphan holds the run's folder."""
    if launcher := os.environ.get(LAUNCHER):
        end_with(int(launcher))
