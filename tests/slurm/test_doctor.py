"""`danube doctor` and a Slurm that answers."""

from __future__ import annotations

import json
import sys

from tests.support.slurm_cluster import Cluster

DOCTOR = [sys.executable, "-m", "custom_modules.cli", "doctor", "--json"]


def test_slurm_answers(cluster: Cluster) -> None:
    done = cluster.run(*DOCTOR, "--slurm")
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["Slurm"] == {
        "check": "Slurm",
        "found": "answers, partitions main*, preemptible",
        "state": "ok",
        "remedy": None,
        "not_needed": None,
    }
    assert findings["pyxis"]["state"] == ("ok" if cluster.plugins.exists() else "missing")
    assert "Slurm" not in done.stderr.partition(" lacks ")[2]
