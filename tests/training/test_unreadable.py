"""What cannot be read or is in the way is one line and code 2; nothing is written over, and no run begins anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import run_danube
from tests.support.strangers import snapshot
from tests.support.tiny import TINY

STAGE1 = "curriculum.stage=stage1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Path:
    """The folder of a run that has more to train."""
    folder = tmp_path_factory.mktemp("trained")
    places = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run", "trainer.devices=1"]
    done = run_danube("pretrain", "--config-name", "danube_rehearsal", *TINY, *places, STAGE1)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def to_folder(path: Path) -> None:
    """Put a folder in the place of a file, which cannot be read by root either."""
    path.unlink(missing_ok=True)
    path.mkdir()


def to_file(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.write_text("in the way")


def cut_yaml(path: Path) -> None:
    path.write_text("- a\n b: {")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "name", "commands"),
    [
        (to_folder, "metrics.jsonl", ["pretrain", "status", "report"]),
        (to_folder, "starts.jsonl", ["status"]),
        (to_folder, ".danube.lock", ["pretrain"]),
        (to_folder, "config.yaml", ["pretrain"]),
        (cut_yaml, "config.yaml", ["status", "report"]),
        (no_text, "config.yaml", ["status"]),
        (to_file, "index_cache", ["pretrain"]),
        (to_file, "checkpoints", ["preflight"]),
    ],
)
def test_a_runs_folder(
    spoil: Callable[[Path], None],
    name: str,
    commands: list[str],
    trained: Path,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    spoil(run_dir / name)
    before = {file: content for file, content in snapshot(run_dir).items() if file != "config.yaml"}  # of this start
    for command in commands:
        words = [str(run_dir)] if command in ("status", "report") else tiny("run", "trainer.devices=1")[1:]
        done = run_danube(command, *words)
        (said,) = [line for line in done.stderr.splitlines() if line.startswith("danube: ")]
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert f"{run_dir / name}" in said
        assert before.items() <= snapshot(run_dir).items()


@pytest.mark.slow
def test_a_file_in_the_place_of_a_runs_folder(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    to_file(tmp_path / "run")
    for command in ("pretrain", "preflight", "status"):
        words = [str(tmp_path / "run")] if command == "status" else tiny("run", "trainer.devices=1")[1:]
        done = run_danube(command, *words)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert str(tmp_path) in done.stderr.splitlines()[-1]
    assert (tmp_path / "run").read_text() == "in the way"


@pytest.mark.slow
def test_bytes_that_are_no_text_among_the_metrics(
    trained: Path, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    with (run_dir / "metrics.jsonl").open("ab") as stream:
        stream.write(b"\xff\xfe\n[1]\n")
    done = run_danube(*tiny("run", "trainer.devices=1"))
    assert done.returncode == 0, done.stderr
