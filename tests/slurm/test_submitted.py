"""However a stage's script is submitted or called, it works, or says in one line what to do."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from custom_modules.platform.world import World
from tests.support.runs import read_metrics
from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter

DIVERGING = ["model.optim.lr=1e30", "model.optim.sched.min_lr=1e29", "model.optim.sched.warmup_tokens=0"]
SHORT = "curriculum.stages.stage1.tokens=1024"


def test_a_loss_that_is_not_finite_by_a_link_without_an_environment(submitter: Submitter) -> None:
    """``sbatch --export=NONE`` of a link to a script of a repository whose path has spaces: the site's file is its."""
    slurm = submitter.folder / "a copy  of it" / "slurm"
    shutil.copytree(SCRIPTS, slurm)
    shutil.copy(submitter.folder / "site.env", slurm / "site.env")
    link = submitter.folder / "my stage.sh"
    link.symlink_to(slurm / "stage1.sh")
    options = [*TASKS, "--export=NONE", "--output=%j.log"]
    job = submitter.cluster.submit(*options, link, *submitter.arguments, *DIVERGING, cwd=submitter.folder)
    assert submitter.cluster.wait(job) == "FAILED"
    assert (submitter.cluster.job(job)["ExitCode"], submitter.cluster.job(job)["Restarts"]) == ("3:0", "0")
    assert "not finite; stopped without saving; " in submitter.log(job)


def test_copies_and_stdin(submitter: Submitter) -> None:
    """None of them has a folder of ours beside it."""
    cluster, here = submitter.cluster, submitter.folder
    copy = Path(shutil.copy(SCRIPTS / "stage1.sh", here / "mine.sh"))
    options = [*TASKS, f"--output={here}/%j.log"]
    lost = cluster.submit(*options, copy, "nonsense", cwd=here)
    found = [
        cluster.submit(*options, copy, "nonsense", cwd=SCRIPTS.parent),
        cluster.submit(*options, f"--export=ALL,DANUBE_REPOSITORY={SCRIPTS.parent}", copy, "nonsense", cwd=here),
    ]
    words = shlex.join(["sbatch", "--parsable", *options])
    stdin = cluster.run("bash", "-c", f"{words} < {SCRIPTS}/stage1.sh", cwd=SCRIPTS.parent)
    assert cluster.wait(lost) == "FAILED"
    assert submitter.log(lost) == (
        f"{copy}: this copy does not find its repository; submit it from there, or set DANUBE_REPOSITORY\n"
    )
    for job in found:
        assert cluster.wait(job) == "FAILED"
        assert "danube: nonsense: not KEY=VALUE" in submitter.log(job)
    assert cluster.wait(int(stdin.stdout)) == "FAILED"
    assert "danube: trainer.num_nodes=1, trainer.devices=8: " in submitter.log(int(stdin.stdout))


def test_salloc_a_shell_in_a_job_an_array_and_a_name_with_a_slash(submitter: Submitter) -> None:
    """All at once, each with a run of its own; the tasks of the array share one, in turn."""
    cluster, here, stage1 = submitter.cluster, submitter.folder, str(SCRIPTS / "stage1.sh")

    def words(name: str) -> list[str]:
        return [*submitter.arguments, f"exp_manager.name={name}", SHORT]

    calls = {
        "salloc": ["salloc", "--nodes=1", "--ntasks-per-node=2", "bash", stage1, *words("salloc")],
        "shell": ["srun", "--ntasks=1", "bash", "-c", shlex.join(["bash", stage1, *words("shell")])],
    }
    started = {
        name: subprocess.Popen(
            [*cluster.in_network, *call], cwd=here, env=cluster.environment, stderr=subprocess.PIPE, text=True
        )
        for name, call in calls.items()
    }
    array = cluster.submit(*TASKS, "--array=0-1%1", "--output=array-%a.log", stage1, *words("array"), cwd=here)
    only = ["--from", "stage1", "--to", "stage1"]
    chain = cluster.run(SCRIPTS / "curriculum.sh", *only, *words("group/run"), cwd=here)
    assert chain.returncode == 0, chain.stderr
    for name, process in started.items():
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, f"{name}: {said}"
    job = int(chain.stdout.split()[1])
    assert cluster.wait(job) == "COMPLETED"
    assert (here / f"group-run-stage1-{job}.log").is_file()
    cluster.wait_for(lambda: not cluster.ask("squeue", "--noheader", f"--jobs={array}"), 240, "the array to end")
    assert "stage1 is finished: " in (here / "array-1.log").read_text()
    for name in ("salloc", "shell", "array", "group/run"):
        assert len(read_metrics(here / name)) == 2


def test_a_port_in_use(submitter: Submitter) -> None:
    """The job is requeued, and meets at another port."""
    cluster = submitter.cluster
    job = submitter.sbatch("stage1.sh", SHORT, options=[*TASKS, "--hold", "--nodelist=node1"])
    step = {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    port = World.from_environment({**step, "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "node1"}).master_port
    listen = f"s = socket.create_server(('', {port})); print('ready', flush=True); time.sleep(600)"
    command = [*cluster.in_network_of("node1"), sys.executable, "-c", f"import socket, time; {listen}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as somebody:
        assert somebody.stdout is not None and somebody.stdout.readline() == b"ready\n"
        cluster.run("scontrol", "release", str(job))
        try:
            assert cluster.wait(job) == "COMPLETED", submitter.log(job)
        finally:
            somebody.kill()
    assert cluster.job(job)["Restarts"] == "1"
    assert f"danube: port {port}: something on node1 listens there already; " in submitter.log(job)
    assert len(read_metrics(submitter.run_dir)) == 2
