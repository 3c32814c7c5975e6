"""A lock that a job holds on another machine, as Slurm knows the job."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from custom_modules.link_lock import HELD
from custom_modules.lock_holder import Holder
from tests.support.slurm_cluster import Cluster

TAKE = """
from pathlib import Path
from custom_modules.link_lock import link_lock
with link_lock(Path(), "exp_manager.name"):
    print("taken")
"""


def test_the_lock_of_a_job_that_has_ended_is_taken_over(cluster: Cluster, tmp_path: Path) -> None:
    ended = cluster.submit("--output=/dev/null", "--wrap=true", cwd=tmp_path)
    at_work = cluster.submit("--output=/dev/null", "--wrap=sleep 100", cwd=tmp_path)
    cluster.wait(ended)
    cluster.wait_for(lambda: cluster.job(at_work)["JobState"] == "RUNNING", 120, "the job to start")
    elsewhere = replace(Holder.this_process(), boot="another", machine="another", cluster="danube")
    said = {}
    for job in (ended, at_work, 999_999):
        (tmp_path / HELD).write_bytes(replace(elsewhere, job=str(job)).as_bytes())
        said[job] = cluster.run(sys.executable, "-c", TAKE, cwd=tmp_path)
        assert (tmp_path / HELD).exists() == (job == at_work)
    cluster.run("scancel", str(at_work))
    assert said[ended].stdout == said[999_999].stdout == "taken\n", said[ended].stderr
    assert f"is in use by process {elsewhere.process} of job {at_work} on {elsewhere.host}" in said[at_work].stderr
