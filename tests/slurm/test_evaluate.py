"""An evaluation on Slurm: a process a task, stopped and requeued, gives the scores of one process alone."""

from __future__ import annotations

from custom_modules.scoring.log import LOG
from tests.support.commands import run_danube
from tests.support.evaluated import make_evaluated, own_items, samples, write_items
from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter


def test_stopped_and_requeued(submitter: Submitter) -> None:
    cluster, folder = submitter.cluster, submitter.folder
    export = make_evaluated(folder).export
    suite = write_items(folder / "many.jsonl", own_items(400, seed=3))
    words = [str(export), "--suite", str(suite), "--accelerator", "cpu"]
    done = run_danube("evaluate", *words, "--output", str(folder / "alone"))
    assert done.returncode == 0, done.stderr

    output = folder / "out"
    options = [*TASKS, "--output=%j.log", str(SCRIPTS / "evaluate.sh"), *words, "--output", str(output)]
    submitted = cluster.submit(*options, "--batch-size", "1", cwd=folder)
    cluster.wait_for((output / LOG).exists, 180, f"answers\n{submitter.log(submitted)}")
    cluster.run("scancel", "--batch", "--signal=USR1", str(submitted))
    assert cluster.wait(submitted) == "COMPLETED", submitter.log(submitted)
    log = submitter.log(submitted)
    assert cluster.job(submitted)["Restarts"] == "1", log
    assert f"job {submitted} is requeued" in log and "SIGUSR1: stopped; what is answered so far is in" in log
    assert samples(output) == samples(folder / "alone")
