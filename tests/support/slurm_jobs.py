"""The rehearsal made small for a Slurm of our own, and its scripts submitted there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.runs import read_metrics
from tests.support.slurm_cluster import Cluster
from tests.support.tiny import TINY

SCRIPTS = Path(__file__).resolve().parents[2] / "slurm"
FOUR_STAGES = [
    *(override for override in TINY if "curriculum" not in override),
    "curriculum.stages.stage1={tokens: 41000, encoder_seq_length: 32}",
    "curriculum.stages.stage2={tokens: 1500, encoder_seq_length: 64}",
    "curriculum.stages.stage3={tokens: 1500, encoder_seq_length: 128}",
    "curriculum.stages.stage4={tokens: 1500, encoder_seq_length: 256}",
]
"""81 steps of 512 tokens, then 3 in each stage, with a window of 48 tokens."""
STAGE1_STEPS = 81
STAGE1_END = STAGE1_STEPS * 512
TASKS = ["--nodes=1", "--ntasks-per-node=2", "--gpus-per-node=0"]


def config(data: Path, folder: Path, name: str) -> list[str]:
    places = [f"data.dir={data}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
    return ["--config-name", "danube_rehearsal", *FOUR_STAGES, *places]


def write_site(path: Path, **settings: str) -> None:
    """Write a site's file; what is not given is as in the one we ship."""
    shipped = (SCRIPTS / "site.env").read_text()
    for name, value in settings.items():
        shipped, count = re.subn(rf"^{name}=\S*", f"{name}={value}", shipped, flags=re.MULTILINE)
        assert count == 1, name
    path.write_text(shipped)


class Submitter:
    """Submits the scripts for a run below one folder, and reads what their jobs leave.

    Args:
        folder: where scripts are called, runs and logs are written.
    """

    def __init__(self, cluster: Cluster, data: Path, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.run_dir = folder / "run"
        self.arguments = config(data, folder, "run")
        self.site()

    def site(self, **settings: str) -> None:
        """Write the site's file, as `write_site`."""
        path = self.folder / "site.env"
        write_site(path, **{"VENV": str(self.cluster.venv), **settings})
        self.cluster.environment["DANUBE_SITE"] = str(path)

    def sbatch(self, script: str, *words: str | Path, options: list[str] = TASKS) -> int:
        """Submit one script; returns the job's id."""
        return self.cluster.submit(
            *options, "--output=%j.log", SCRIPTS / script, *self.arguments, *words, cwd=self.folder
        )

    def log(self, job: int) -> str:
        path = self.folder / f"{job}.log"
        return path.read_text() if path.exists() else ""

    def tokens(self) -> int:
        """How far the run has logged."""
        try:
            return int(read_metrics(self.run_dir)[-1]["tokens"])
        except (FileNotFoundError, LookupError):
            return 0

    def in_the_middle(self, job: int) -> None:
        """Wait until a job is in the middle of stage 1."""
        self.cluster.wait_for(lambda: self.tokens() >= 10 * 512, 180, f"job {job} to train\n{self.log(job)}")
        assert self.tokens() < STAGE1_END, "too late: stage 1 is over"
