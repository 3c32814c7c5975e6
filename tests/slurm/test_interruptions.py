"""Whatever ends a job in the middle of stage 1, the stage ends with the weights of a run that was left alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from custom_modules.run_folder.checkpoint_files import find_newest
from tests.support.runs import assert_same_checkpoint, checkpoints
from tests.support.slurm_jobs import STAGE1_END, TASKS, Submitter


def stage1_end(run_dir: Path) -> Path:
    return next(path for path in checkpoints(run_dir) if int(path.name.removeprefix("tokens_")) == STAGE1_END)


def assert_finished_as(without_slurm: Path, submitter: Submitter, job: int) -> None:
    assert submitter.cluster.wait(job) == "COMPLETED", submitter.log(job)
    assert_same_checkpoint(stage1_end(without_slurm), checkpoints(submitter.run_dir)[-1])


def ranks(job: int) -> list[int]:
    """Process ids of a job's training processes."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            is_rank = any(word.startswith(b"SLURM_PROCID=") for word in environment) and b"pretrain" in command
            if is_rank and f"SLURM_JOB_ID={job}".encode() in environment and command[0] != b"srun":
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("moment", ["in the middle", "while it starts"])
def test_the_signal_ahead_of_a_time_limit(moment: str, submitter: Submitter, without_slurm: Path) -> None:
    """USR1 to the batch script, as ``--signal=B:USR1@300`` has Slurm send it."""
    job = submitter.sbatch("stage1.sh")
    if moment == "in the middle":
        submitter.in_the_middle(job)
    else:
        submitter.cluster.wait_for(lambda: ranks(job), 180, "the ranks to start")
    submitter.cluster.run("scancel", "--batch", "--signal=USR1", str(job))
    assert_finished_as(without_slurm, submitter, job)
    assert submitter.cluster.job(job)["Restarts"] == "1"
    log = submitter.log(job)
    assert f"job {job} is requeued" in log
    assert "restart 1, on node" in log
    if moment == "in the middle":
        assert "danube: SIGUSR1: saved " in log
        assert "resuming from" in log


def test_preemption_by_a_higher_partition(submitter: Submitter, without_slurm: Path) -> None:
    """Where ``preempt_send_user_signal`` is not set, the tasks get SIGTERM and the batch script nothing."""
    cluster = submitter.cluster
    job = submitter.sbatch("stage1.sh", options=[*TASKS, "--partition=preemptible", "--exclusive"])
    submitter.in_the_middle(job)
    urgent = cluster.submit("--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=sleep 1", cwd=submitter.folder)
    assert cluster.wait(urgent) == "COMPLETED"
    assert_finished_as(without_slurm, submitter, job)
    assert cluster.job(job)["Restarts"] == "1"
    assert "danube: SIGTERM: saved " in submitter.log(job)


@pytest.mark.parametrize("on_crash", ["requeue", "fail"])
def test_a_rank_killed_with_9(on_crash: str, submitter: Submitter, without_slurm: Path) -> None:
    cluster = submitter.cluster
    submitter.site(ON_CRASH=on_crash)
    job = submitter.sbatch("stage1.sh")
    submitter.in_the_middle(job)
    first, second = ranks(job)
    os.kill(first, signal.SIGKILL)
    cluster.wait_for(lambda: not Path(f"/proc/{second}").exists() or second not in ranks(job), 10, "the other rank")
    if on_crash == "requeue":
        assert_finished_as(without_slurm, submitter, job)
        assert cluster.job(job)["Restarts"] == "1"
    else:
        assert cluster.wait(job) == "FAILED"
        assert cluster.job(job)["Restarts"] == "0"
        assert "the step ended with code 137 (ON_CRASH=fail)" in submitter.log(job)
        newest, _ = find_newest(submitter.run_dir)
        assert newest is not None
        (named,) = [line for line in submitter.log(job).splitlines() if "SIGKILL" in line]
        assert "a process was ended by SIGKILL: " in named and "memory" in named
        assert f"the last checkpoint is {newest.path}, and the same command goes on from there" in named


def test_a_node_set_down(submitter: Submitter, without_slurm: Path) -> None:
    cluster = submitter.cluster
    job = submitter.sbatch("stage1.sh")
    submitter.in_the_middle(job)
    node = cluster.job(job)["NodeList"]
    cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        assert_finished_as(without_slurm, submitter, job)
        assert cluster.job(job)["Restarts"] == "1"
        assert cluster.job(job)["NodeList"] not in (node, "")
    finally:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")


def test_scancel_saves_and_does_not_requeue(submitter: Submitter, without_slurm: Path) -> None:
    cluster = submitter.cluster
    job = submitter.sbatch("stage1.sh")
    submitter.in_the_middle(job)
    cluster.run("scancel", str(job))
    assert cluster.wait(job) == "CANCELLED"
    cluster.wait_for(lambda: "cancelled" in submitter.log(job).splitlines()[-1], 60, "the log's last line")
    assert "danube: SIGTERM: saved " in submitter.log(job)
    assert cluster.job(job)["Restarts"] == "0"
    saved = int(checkpoints(submitter.run_dir)[-1].name.removeprefix("tokens_"))
    assert 10 * 512 <= saved < STAGE1_END
    again = submitter.sbatch("stage1.sh")
    assert_finished_as(without_slurm, submitter, again)
    assert f"resuming from {submitter.run_dir}/checkpoints/tokens_{saved:018d}" in submitter.log(again)


def test_a_job_that_never_gets_on_is_not_requeued_for_ever(submitter: Submitter) -> None:
    """Its training crashes at every start, before the first checkpoint."""
    crashing = submitter.folder / "crashing" / "bin"
    crashing.mkdir(parents=True)
    danube = crashing / "danube"
    danube.write_text(f'#!/bin/sh\n[ "$1" = pretrain ] && kill -9 $$\nexec {submitter.cluster.venv}/bin/danube "$@"\n')
    danube.chmod(0o755)
    submitter.site(VENV=str(crashing.parent))
    job = submitter.sbatch("stage1.sh")
    assert submitter.cluster.wait(job) == "FAILED"
    assert submitter.cluster.job(job)["Restarts"] == "2"
    assert f"job {job}: 2 restarts from 0 tokens brought no progress" in submitter.log(job)
