"""Where the pieces of a `prepare` run: processes here, or tasks that datatrove's executors start on Slurm or Ray."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from custom_modules.system import allow_open_files, usable_cores
from data_prep.work.workers import Pool, Result, Workers

_POLL_SECONDS = 0.5
_IDLE_SECONDS = 10.0
_CALLS = "calls.pickle"


def open_workers(config: Config, folder: Path) -> AbstractContextManager[Pool]:
    """What ``data.executor`` names; this process and its workers may have as many files open as the system allows.

    Args:
        folder: for the calls and results of tasks on other machines, which share it.

    Raises:
        UserError: something that the executor needs is missing.
    """
    allow_open_files()
    data = config.data
    if data.executor != "local":
        try:
            import datatrove  # noqa: F401
        except ImportError:
            raise UserError(
                f"data.executor={data.executor}: datatrove is missing; pip install 'danube-pretrain[data]'"
            ) from None
    if data.executor == "slurm":
        return slurm_workers(folder, data.workers, data.slurm.model_dump())
    if data.executor == "ray":
        return ray_workers(folder, data.workers)
    return Workers(data.workers or usable_cores())


class RunCall:
    """The one step of a datatrove pipeline: a task is one call of a module-level function, its result a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # as with workers here, for scores of the same bits
        function, calls = pickle.loads((self.folder / _CALLS).read_bytes())
        outcome: tuple[Any, UserError | None]
        try:
            outcome = (function(*calls[rank]), None)
        except UserError as error:
            outcome = (None, error)
        whole_file(_result(self.folder, rank), pickle.dumps(outcome))


def _result(folder: Path, rank: int) -> Path:
    return folder / f"{rank:05d}.pickle"


Start = Callable[[Path, int], Callable[[], bool]]
"""Starts the tasks of a folder; returns a function that says whether any of them may still be at work."""


class RemoteWorkers:
    """Runs calls as the tasks of one datatrove executor after another, and collects their results from files.

    Args:
        folder: shared by all machines, as the Python installation is.
        start: how tasks are started.
        cancel: called when the run ends early.
    """

    def __init__(self, folder: Path, start: Start, cancel: Callable[[], object]) -> None:
        self._folder = folder.absolute()
        self._start = start
        self._cancel = cancel
        self._runs = 0

    def warm_up(self, function: Callable[..., object], *arguments: object) -> None:
        """Tasks start when there is work."""

    def run(self, function: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, Result]]:
        """Do what `Pool.run` says."""
        every = list(calls)
        if not every:
            return iter(())
        self._runs += 1
        folder = self._folder / f"{self._runs:02d}_{function.__name__.strip('_')}"
        with explained(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            whole_file(folder / _CALLS, pickle.dumps((function, every)))
        return _collect(folder, len(every), self._start(folder, len(every)))

    def __enter__(self) -> RemoteWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cancel()


def _collect(folder: Path, count: int, is_working: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
    """Yield results as they come.

    Slurm may not list a job array for the moment in which its tasks are started, and a shared file system may show a
    result late: tasks are given up only when none has been at work for a while.
    """
    missing = set(range(count))
    last_at_work = time.monotonic()
    while missing:
        if is_working():
            last_at_work = time.monotonic()
        ready = sorted(rank for rank in missing if _result(folder, rank).is_file())
        for rank in ready:
            missing.remove(rank)
            result, error = pickle.loads(_result(folder, rank).read_bytes())
            if error is not None:
                raise error
            yield rank, result
        if missing and not ready and time.monotonic() - last_at_work > _IDLE_SECONDS:
            raise UserError(
                f"{folder}: task {min(missing)} of {count} ended without a result; its log is in {folder / 'logs'}, "
                "and the same command goes on from the last finished piece"
            )
        if missing:
            time.sleep(_POLL_SECONDS)


def slurm_workers(folder: Path, count: int | None, options: Mapping[str, Any]) -> RemoteWorkers:
    """Return workers that are job arrays of Slurm.

    Args:
        count: tasks at a time; None: no limit.
        options: ``data.slurm``.

    Raises:
        UserError: no partition is given, a path or an option has a line break, or there is no Slurm.
    """
    from data_prep.work.slurm import check_one_line, is_queued, submit

    if not options["partition"]:
        raise UserError("data.slurm.partition=null: data.executor=slurm needs the partition to submit to")
    check_one_line(folder.absolute(), options)
    if shutil.which("sbatch") is None:
        raise UserError("data.executor=slurm: there is no sbatch here; use data.executor=local")
    jobs: list[str] = []

    def start(folder: Path, tasks: int) -> Callable[[], bool]:
        jobs.append(submit(folder, _common(folder, tasks, count), options))
        return lambda: is_queued(jobs[-1])

    return RemoteWorkers(folder, start, lambda: subprocess.run(["scancel", *jobs], capture_output=True))


def ray_workers(folder: Path, count: int | None) -> RemoteWorkers:
    """Return workers that are Ray tasks, by datatrove's RayPipelineExecutor.

    They run on the cluster of RAY_ADDRESS, else on a Ray of this machine.

    Raises:
        UserError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UserError("data.executor=ray: Ray is missing; pip install ray, or use data.executor=local") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR")

    def start(folder: Path, tasks: int) -> Callable[[], bool]:
        from datatrove.executor import RayPipelineExecutor

        RayPipelineExecutor(**_common(folder, tasks, count), mem_per_cpu_gb=1).run()
        return lambda: False

    return RemoteWorkers(folder, start, ray.shutdown)


def _common(folder: Path, tasks: int, count: int | None) -> dict[str, Any]:
    from datatrove.io import DataFolder
    from fsspec.implementations.local import LocalFileSystem
    from loguru import logger

    logger.disable("datatrove")
    return {
        "pipeline": [RunCall(folder)],
        "tasks": tasks,
        "workers": count or -1,
        "logging_dir": DataFolder(str(folder / "logs"), LocalFileSystem()),  # of a text it would make an address
        "skip_completed": False,
    }
