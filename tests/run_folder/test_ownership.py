from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.report import draw
from custom_modules.run_folder.ownership import claim_run_folder
from custom_modules.run_folder.starts import Start, record_start
from tests.support.commands import run_danube
from tests.support.runs import assert_same_run, checkpoints
from tests.support.strangers import CONTENT, made, put, snapshot

Arguments = Callable[..., list[str]]

STAGE_1 = "curriculum.stage=stage1"


@pytest.mark.slow
def test_a_strangers_file_where_a_run_would_write(tmp_path: Path, tiny: Arguments) -> None:
    boards = "exp_manager.create_tensorboard_logger=true"
    assert run_danube(*tiny("first", STAGE_1, boards)).returncode == 0
    kinds = {(name.partition("/")[0], Path(name).suffix): name for name in made(tmp_path / "first")}
    places = {place for place, _ in kinds}
    assert places == {"checkpoints", "config.yaml", "index_cache", "metrics.jsonl", "tensorboard"}
    for number, name in enumerate([*kinds.values(), "starts.jsonl", "checkpoints/notes.txt"]):
        folder = tmp_path / f"run{number}"
        put(folder, [name])
        before = snapshot(folder)
        done = run_danube(*tiny(folder.name, STAGE_1, boards))
        assert done.returncode == 2
        assert f"{folder / name.partition('/')[0]} is in the way: no run made it" in done.stderr
        assert snapshot(folder) == before


@pytest.mark.slow
def test_files_beside_a_runs_own_stay_and_change_nothing(tmp_path: Path, tiny: Arguments) -> None:
    """Also in a checkpoint that is pruned without them, and in folders that a later start clears or fills."""
    assert run_danube(*tiny("plain")).returncode == 0
    strangers = put(tmp_path / "run", ["notes.txt", "report.md", "src/train.py"])
    assert run_danube(*tiny("run", STAGE_1)).returncode == 0
    folders = {path.parent for path in (tmp_path / "run").rglob("*") if path.is_file()}
    more = [str((folder / "mine.txt").relative_to(tmp_path / "run")) for folder in folders]
    strangers += put(tmp_path / "run", more)
    annotated = checkpoints(tmp_path / "run")
    assert run_danube(*tiny("run")).returncode == 0
    assert all(path.read_bytes() == CONTENT for path in strangers)
    assert_same_run(tmp_path / "plain", tmp_path / "run")
    pruned = [path for path in annotated if not (tmp_path / "plain/checkpoints" / path.name).exists()]
    assert pruned
    assert all(path.is_dir() for path in pruned)


@pytest.mark.slow
def test_the_folder_of_a_run_of_the_version_before_is_taken(tmp_path: Path, tiny: Arguments) -> None:
    """It has no note; one that was killed in its first start has nothing but the list of its starts."""
    start = Start(job_id=7, restart=0, consumed_tokens=0, nodes="node1", time=0.0)
    record_start(tmp_path / "killed", start)
    claim_run_folder(tmp_path / "killed")
    assert run_danube(*tiny("run", STAGE_1)).returncode == 0
    (tmp_path / "run/.made_by_danube").unlink()
    shutil.copytree(tmp_path / "run", tmp_path / "without")
    shutil.rmtree(tmp_path / "without/checkpoints")
    for name in ("run", "without"):
        assert run_danube(*tiny(name, STAGE_1)).returncode == 0


@pytest.mark.slow
def test_a_report_is_written_over_and_nothing_else(tmp_path: Path, tiny: Arguments) -> None:
    run_dir = tmp_path / "run"
    assert run_danube(*tiny("run", STAGE_1)).returncode == 0
    draw(run_dir)
    draw(run_dir)
    (run_dir / "report/index.html").unlink()
    draw(run_dir)
    for name in ("index.html", "figure1.png"):
        folder = tmp_path / Path(name).stem
        put(folder, [name])
        with pytest.raises(UserError, match=rf"{folder}/{name}: not made by `danube report`"):
            draw(run_dir, folder)
        assert [path.name for path in folder.iterdir()] == [name]
