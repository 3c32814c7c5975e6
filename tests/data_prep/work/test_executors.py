"""Tasks on other machines: their results are waited for, and tasks that end without one are named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custom_modules.errors import UserError
from data_prep.work import executors
from data_prep.work.executors import RemoteWorkers, RunCall, slurm_workers


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task sets this for its process, which is this one here."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def double(number: int) -> int:
    return 2 * number


@pytest.mark.slow
def test_tasks_that_are_not_listed_for_a_moment_are_waited_for(tmp_path: Path) -> None:
    """Slurm may not list a job array while its tasks are being started."""

    def start(folder: Path, tasks: int) -> Callable[[], bool]:
        def work() -> None:
            for rank in range(tasks):
                RunCall(folder)(None, rank, tasks)

        threading.Timer(1.5, work).start()
        return lambda: False

    with RemoteWorkers(tmp_path, start, lambda: None) as workers:
        assert sorted(workers.run(double, [(1,), (2,), (3,)])) == [(0, 2), (1, 4), (2, 6)]


def test_a_task_without_a_result_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_IDLE_SECONDS", 0.0)
    cancelled: list[bool] = []

    def start(folder: Path, tasks: int) -> Callable[[], bool]:
        RunCall(folder)(None, 0, tasks)
        return lambda: False

    with (
        pytest.raises(UserError, match="task 1 of 2"),
        RemoteWorkers(tmp_path, start, lambda: cancelled.append(True)) as workers,
    ):
        list(workers.run(double, [(1,), (2,)]))
    assert cancelled


@pytest.mark.parametrize(
    ("folder", "options", "key"),
    [
        ("two\nlines", {}, "data.dir="),
        ("one line", {"sbatch_args": {"comment": "two\nlines"}}, "data.slurm.sbatch_args.comment="),
        ("one line", {"time": "1:00\r\n"}, "data.slurm.time="),
    ],
)
def test_a_line_break_in_a_slurm_script_is_refused(
    folder: str, options: dict[str, Any], key: str, tmp_path: Path
) -> None:
    pytest.importorskip("datatrove")
    usual = {"partition": "main", "time": "1:00", "cpus_per_task": 1, "mem_per_cpu_gb": 1, "sbatch_args": {}}
    with pytest.raises(UserError) as refused:
        slurm_workers(tmp_path / folder, None, {**usual, **options})
    assert str(refused.value).startswith(key)
    assert "\n" not in str(refused.value) and "no Slurm script can hold" in str(refused.value)
