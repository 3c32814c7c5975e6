"""A run with teachers, from their rows beside the data to what it logs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.runs import assert_same_run, checkpoints, read_metrics
from tests.support.taught import TAUGHT, TEACHERS, prepare_taught

Run = subprocess.CompletedProcess[str]
NAMES = ["ground_truth", *TEACHERS]
OPTIONS = ["trainer.devices=1", *TAUGHT, "trainer.log_every_n_tokens=1536", "trainer.dry_run=false"]
"""Log lines of three steps, checkpoints of four: of the distilled one, each fourth, a checkpoint has the sums."""


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_taught(tmp_path_factory.mktemp("taught"))


@pytest.fixture
def command(tiny: Callable[..., list[str]], taught: Path) -> Callable[..., list[str]]:
    return lambda name, *overrides: tiny(name, *OPTIONS, f"data.dir={taught}", "data.max_epochs=20", *overrides)


@pytest.mark.slow
def test_what_is_logged_and_a_resume(
    danube: Callable[..., Run], command: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The loss is the ground truth's; a resumed run logs what an undisturbed one does, to the bit."""
    done = danube(*command("run"))
    assert done.returncode == 0, done.stderr
    found = [line for line in read_metrics(tmp_path / "run") if line["stage"] == "stage1"]
    said = dict(re.findall(r"step (\d+)  loss \S+  objective (\S+)", done.stderr))
    steps = [line["step"] for line in found]
    for line, before in zip(found, [0, *steps], strict=False):
        has_distilled = any(step % 4 == 0 for step in range(before + 1, line["step"] + 1))
        assert ("objective" in line, "wins" in line) == (has_distilled, has_distilled)
        if has_distilled:
            assert list(line["wins"]) == NAMES and sum(line["wins"].values()) == pytest.approx(1)
            assert said[str(line["step"])] == f"{line['objective']:.4f}"
    assert 0 < sum("objective" in line for line in found) < len(found)
    shutil.copytree(tmp_path / "run", tmp_path / "resumed")
    last = checkpoints(tmp_path / "resumed")
    for path in last[1:]:
        shutil.rmtree(path)
    resumed = danube(*command("resumed", "trainer.dry_run=true"))
    assert resumed.returncode == 0 and "resuming from" in resumed.stderr, resumed.stderr
    assert_same_run(tmp_path / "run", tmp_path / "resumed")


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None, reason="NVIDIA DALI is not installed"
)
def test_either_loader(danube: Callable[..., Run], command: Callable[..., list[str]], tmp_path: Path) -> None:
    for loader in ("native", "dali"):
        done = danube(*command(loader, f"data.loader={loader}"))
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "native", tmp_path / "dali")
