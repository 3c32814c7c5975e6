"""A Slurm for the session, the rehearsal made small for it, and the same run without Slurm to compare with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.slurm_cluster import Cluster, Unavailable
from tests.support.slurm_jobs import FOUR_STAGES, Submitter, config
from tests.support.tiny import prepare


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        cluster = Cluster(tmp_path_factory.mktemp("slurm"), int(worker.removeprefix("gw")))
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


@pytest.fixture
def submitter(cluster: Cluster, four_stages: Path, tmp_path: Path) -> Iterator[Submitter]:
    yield Submitter(cluster, four_stages, tmp_path)
    cluster.run("scancel", "--user", str(os.geteuid()))
    cluster.wait_for(lambda: not cluster.ask("squeue", "--noheader"), 120, "the queue to be empty")
