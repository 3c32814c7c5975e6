"""A run goes on bit for bit wherever its data lies by then, and whatever became of its index files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import assert_same_run, checkpoints
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
Damage = Callable[[Path], object]
MANY = "exp_manager.checkpoint_callback_params.save_last_n=9"


@pytest.fixture(scope="module")
def whole(danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two processes, with all its checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    names = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run", "trainer.devices=2"]
    done = danube("pretrain", "--config-name", "danube_rehearsal", *TINY, MANY, *names)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def halfway(whole: Path, tmp_path: Path) -> Path:
    """The run as it was in the middle of its second stage."""
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(checkpoints(tmp_path / "run")[-1])
    assert checkpoints(tmp_path / "run")[-1].name.endswith("8192")
    return tmp_path / "run"


def spelled_otherwise(data: Path, folder: Path) -> str:
    return f"{data.parent}/./{data.name}/../{data.name}"


def moved(data: Path, folder: Path) -> str:
    shutil.copytree(data, folder / "elsewhere" / "renamed")
    return str(folder / "elsewhere" / "renamed")


def linked(data: Path, folder: Path) -> str:
    (folder / "link").symlink_to(data)
    return str(folder / "link")


@pytest.mark.parametrize(
    "place", [spelled_otherwise, *(pytest.param(place, marks=pytest.mark.slow) for place in (moved, linked))]
)
def test_data_that_lies_elsewhere(
    place: Callable[[Path, Path], str],
    danube: Callable[..., Run],
    tiny: Callable[..., list[str]],
    prepared: Path,
    tmp_path: Path,
    whole: Path,
    halfway: Path,
) -> None:
    before = contents(halfway)
    resumed = danube(*tiny("run", "trainer.devices=2", MANY, f"data.dir={place(prepared, tmp_path)}"))
    assert resumed.returncode == 0, resumed.stderr
    assert "8,192 tokens" in resumed.stderr
    assert_same_run(whole, halfway)
    assert contents(halfway) == before, "content is the same, so nothing is built again"


def contents(run_dir: Path) -> dict[str, tuple[int, bytes]]:
    """The inode and the bytes of each index file."""
    files = [path for path in (run_dir / "index_cache").rglob("*") if path.is_file()]
    return {str(path.relative_to(run_dir)): (path.stat().st_ino, path.read_bytes()) for path in files}


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (Path.unlink, "sample_index.npy", "is missing"),
        pytest.param(empty, "shuffle_index.npy", "has 0 bytes, not", marks=pytest.mark.slow),
        pytest.param(cut_short, "document_index.npy", "bytes, not", marks=pytest.mark.slow),
        pytest.param(alter, "sample_index.npy", "changed after it was made", marks=pytest.mark.slow),
        pytest.param(Path.unlink, "description.txt", "is missing", marks=pytest.mark.slow),
        pytest.param(Path.unlink, "index_files.json", None, marks=pytest.mark.slow),
    ],
)
def test_index_files_that_were_damaged(
    damage: Damage,
    kind: str,
    said: str | None,
    danube: Callable[..., Run],
    tiny: Callable[..., list[str]],
    whole: Path,
    halfway: Path,
) -> None:
    before = contents(halfway)
    strangers = [folder / "mine.txt" for folder in (halfway / "index_cache").iterdir()]
    for stranger in strangers:
        stranger.write_text("not yours")
    found = list((halfway / "index_cache").glob(f"*/*{kind}"))
    assert len(found) >= 2
    for path in found:
        damage(path)
    resumed = danube(*tiny("run", "trainer.devices=2", MANY))
    assert resumed.returncode == 0, resumed.stderr
    assert said is None or said in resumed.stderr
    assert_same_run(whole, halfway)
    assert all(stranger.read_text() == "not yours" for stranger in strangers)
    now = contents(halfway)
    made_again = [name for name in before if name.endswith(kind) and name in now and now[name][1] == before[name][1]]
    assert len(made_again) == 1, "the stage to come has its files again, and nobody needs those of the one before"


@pytest.mark.slow
def test_what_rank_0_cannot_write_ends_all(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], halfway: Path
) -> None:
    shutil.rmtree(halfway / "index_cache")
    (halfway / "index_cache").write_text("a file in the folder's place")
    refused = danube(*tiny("run", "trainer.devices=2", MANY), timeout=60)
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"danube: {halfway}/index_cache")
    assert "Traceback" not in refused.stderr
