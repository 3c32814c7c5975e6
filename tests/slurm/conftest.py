"""A Slurm for the session, the rehearsal made small for it, and the same run without Slurm to compare with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY, prepare, read_metrics
from tests.slurm.cluster import Cluster, Unavailable

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    except Unavailable as reason:
        if os.environ.get("REQUIRE_SLURM"):
            raise
        pytest.skip(f"no Slurm here: {reason}")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def four_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data of all four stages."""
    return prepare(tmp_path_factory.mktemp("four_stages"), 1500, FOUR_STAGES)


@pytest.fixture(scope="session")
def without_slurm(danube: Callable[..., object], four_stages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder of the four stages trained by one plain command on two processes."""
    folder = tmp_path_factory.mktemp("without_slurm")
    done = danube("pretrain", *config(four_stages, folder, "run"))
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
    return folder / "run"


def config(data: Path, folder: Path, name: str) -> list[str]:
    places = [f"data.dir={data}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
    return ["--config-name", "danube_rehearsal", *FOUR_STAGES, *places]


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
        """Write the site's file; what is not given is as in the one we ship."""
        shipped = (SCRIPTS / "site.env").read_text()
        for name, value in {"VENV": sys.prefix, **settings}.items():
            shipped, count = re.subn(rf"^{name}=\S*", f"{name}={value}", shipped, flags=re.MULTILINE)
            assert count == 1, name
        path = self.folder / "site.env"
        path.write_text(shipped)
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
        self.cluster.wait_for(lambda: self.tokens() >= 10 * 512, 60, f"job {job} to train\n{self.log(job)}")
        assert self.tokens() < STAGE1_END, "too late: stage 1 is over"


@pytest.fixture
def submitter(cluster: Cluster, four_stages: Path, tmp_path: Path) -> Iterator[Submitter]:
    yield Submitter(cluster, four_stages, tmp_path)
    cluster.run("scancel", "--user", str(os.geteuid()))
    cluster.wait_for(lambda: not cluster.ask("squeue", "--noheader"), 30, "the queue to be empty")
