"""The launcher of a node's processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from custom_modules.platform.launch import LAUNCHER, die_with_launcher, free_port, launch, may_fork
from custom_modules.platform.world import LISTENER, Pod, World
from custom_modules.training.signals import stop_requests


def test_ports_that_no_outgoing_connection_takes() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) > 10
    assert all(10_000 <= port < 30_000 for port in ports)


def launched(import_once: Callable[[], Callable[[], int]], pod: Pod | None = None) -> int:
    """The exit code of a launcher of two forked processes, itself a process; negative: the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(launch(2, [], threads=1, import_once=import_once, pod=pod))
        except SystemExit as end:
            os._exit(int(end.code or 0))
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def leave(file: Path) -> None:
    """Write this process's id, whole at once."""
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(file)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stop_while_processes_start_reaches_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def start_and_be_stopped(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = start(["sleep", "60"], **options)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_be_stopped)
    assert launch(2, [], threads=1) == 128 + signal.SIGTERM


def test_forked_processes_have_their_place_and_their_stop(tmp_path: Path) -> None:
    """A stop that comes while the launcher imports waits until a process can save."""

    def work() -> int:
        world = World.from_environment()
        die_with_launcher()
        with stop_requests() as stop:
            wait_until(lambda: stop.received > 0)
            mine = [
                world.rank,
                world.size,
                world.local_rank,
                os.getppid() == int(os.environ[LAUNCHER]),
                os.getsid(0) == os.getpid(),
            ]
            (tmp_path / str(world.rank)).write_text(json.dumps([*mine, stop.received]))
        return 75

    def import_once() -> Callable[[], int]:
        os.kill(os.getpid(), signal.SIGUSR1)
        return work

    assert launched(import_once) == 75
    left = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    assert left == [[rank, 2, rank, True, True, signal.SIGUSR1] for rank in range(2)]


@pytest.mark.parametrize("forked", [True, False])
def test_the_processes_of_a_pod(forked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbered after those of the pods before it; they meet where the first pod is."""
    pod = Pod(1, 2, 2, "job-master-0", 23456)

    def work() -> int:
        world = World.from_environment()
        found = [world.rank, world.size, world.local_rank, world.master_addr, world.master_port]
        (tmp_path / str(world.rank)).write_text(
            json.dumps([*found, LISTENER in os.environ, Pod.from_environment() is None])
        )
        return 0

    for name, value in {"PET_NPROC_PER_NODE": "2", "PET_NODE_RANK": "1", "WORLD_SIZE": "4", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    if forked:
        assert launched(lambda: work, pod) == 0
    else:
        started: list[dict[str, str]] = []
        real = subprocess.Popen

        def start(command: list[str], env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
            started.append(env)
            return real(["true"], env=env, **options)

        monkeypatch.setattr(subprocess, "Popen", start)
        assert launch(2, ["pretrain"], 1, pod=pod) == 0
        for env in started:
            with monkeypatch.context() as patch:
                patch.setattr(os, "environ", env)
                work()
    left = [json.loads((tmp_path / str(rank)).read_text()) for rank in (2, 3)]
    assert left == [[2 + rank, 4, rank, "job-master-0", 23456, False, True] for rank in range(2)]


def test_nobody_takes_the_port_while_a_process_imports(tmp_path: Path) -> None:
    """Rank 0 has from the launcher the socket that is bound to it, until it ends."""

    def work() -> int:
        world = World.from_environment()
        with socket.socket() as another:
            try:
                another.bind(("127.0.0.1", world.master_port))
            except OSError:
                leave(tmp_path / str(world.rank))
                wait_until((tmp_path / "1").exists)
                return 0
        return 1

    assert launched(lambda: work) == 0


@pytest.mark.slow
def test_one_forked_process_is_killed(tmp_path: Path) -> None:
    def work() -> int:
        if World.from_environment().rank == 1:
            wait_until((tmp_path / "0").exists)
            os.kill(os.getpid(), signal.SIGKILL)
        leave(tmp_path / "0")
        time.sleep(60)
        return 0

    assert launched(lambda: work) == 128 + signal.SIGKILL
    assert not is_running(int((tmp_path / "0").read_text()))


def test_the_launcher_of_forked_processes_is_killed(tmp_path: Path) -> None:
    files = [tmp_path / str(rank) for rank in range(2)]

    def work() -> int:
        die_with_launcher()
        leave(files[World.from_environment().rank])
        time.sleep(60)
        return 0

    def import_once() -> Callable[[], int]:
        launcher = os.getpid()
        if os.fork() == 0:
            wait_until(lambda: all(file.exists() for file in files))
            os.kill(launcher, signal.SIGKILL)
            os._exit(0)
        return work

    assert launched(import_once) == -signal.SIGKILL
    workers = [int(file.read_text()) for file in files]
    wait_until(lambda: not any(map(is_running, workers)))


def test_nothing_is_forked_beside_a_thread_or_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return real(["true"], **options)

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert launch(2, ["pretrain"], 1, lambda: lambda: 1) == 0
    finally:
        end.set()
        thread.join()
    assert [command[-1] for command in started] == ["pretrain", "pretrain"]
    monkeypatch.setattr("custom_modules.platform.launch.NVIDIA_DRIVER", tmp_path)
    assert [may_fork(accelerator) for accelerator in ("gpu", "auto", "cpu")] == [False, False, True]
