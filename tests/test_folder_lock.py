"""Where a file system has no flock, a folder's lock is a file that names its holder and outlives nobody."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.folder_lock import LOCK, folder_lock
from custom_modules.link_lock import HELD, TAKING_OVER, link_lock
from custom_modules.lock_holder import Holder, read_holder

HERE = Holder.this_process(env={})
GONE = replace(HERE, started="1", token="gone")
"""A process that had this one's id."""
ELSEWHERE = replace(HERE, host="node9", machine="another", boot="another", job="7", cluster=None)


@pytest.fixture(params=["ENOLCK", "ENOTSUP", "ENOSYS"])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, request.param)

    def flock(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have squeue do what a shell script says; sacct has no accounts."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def say(script: str) -> None:
        for name, content in (("squeue", script), ("sacct", "exit 1")):
            (programs / name).write_text(f"#!/bin/sh\n{content}\n")
            (programs / name).chmod(0o755)

    return say


@pytest.mark.usefixtures("no_flock")
def test_a_folder_without_flock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with folder_lock(tmp_path, "data.dir"):
        said = capsys.readouterr().err
        assert f"warning: {tmp_path}: its file system has no flock (" in said
        assert "-o flock" in said
        holder = read_holder(tmp_path / HELD)
        assert holder is not None
        assert (holder.process, holder.host) == (os.getpid(), socket.gethostname())
        wanted = rf"^data\.dir: {tmp_path} is in use by process {os.getpid()} on .*remove {tmp_path / HELD}$"
        with pytest.raises(UserError, match=wanted), folder_lock(tmp_path, "data.dir"):
            pytest.fail("it was taken twice")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_flock_respects_who_has_a_link(tmp_path: Path) -> None:
    with (
        link_lock(tmp_path, "exp_manager.name"),
        pytest.raises(UserError, match="is in use by process"),
        folder_lock(tmp_path, "exp_manager.name"),
    ):
        pytest.fail("it was taken twice")


def test_of_many_starts_one_takes_over(tmp_path: Path) -> None:
    """What the killed holder and a start that was killed while it took over have left is no hindrance."""
    (tmp_path / HELD).write_bytes(GONE.as_bytes())
    (tmp_path / TAKING_OVER).write_bytes(GONE.as_bytes())
    starts, all_tried = 8, threading.Barrier(8)

    def start(number: int) -> bool:
        try:
            with link_lock(tmp_path, "data.dir"):
                all_tried.wait(30)
                return True
        except UserError:
            all_tried.wait(30)
            return False

    with ThreadPoolExecutor(starts) as pool:
        assert sum(pool.map(start, range(starts))) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("holder", "is_gone"),
    [
        (HERE, False),
        (GONE, True),
        (replace(HERE, process=2**22 + 1), True),
        (replace(HERE, namespace="a container's"), False),
        (replace(HERE, boot="the one before"), bool(HERE.machine)),
        (replace(HERE, boot="the one before", host="node9"), False),
        (replace(ELSEWHERE, job=None), False),
    ],
)
def test_what_a_machine_knows_of_a_holder(holder: Holder, is_gone: bool) -> None:
    assert holder.is_gone() == is_gone


@pytest.mark.parametrize(
    ("script", "is_gone"),
    [
        ("echo RUNNING", False),
        ("echo COMPLETING", False),
        ("echo FAILED", True),
        ("echo PENDING", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", False),
    ],
)
def test_what_slurm_knows_of_a_holder(script: str, is_gone: bool, slurm: Callable[[str], None]) -> None:
    slurm(script)
    assert ELSEWHERE.is_gone() == is_gone
    assert not replace(ELSEWHERE, cluster="another").is_gone()


def test_a_restart_of_the_holders_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    assert not ELSEWHERE.is_gone()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert ELSEWHERE.is_gone()
