from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.clean import clean
from tests.support.commands import run_danube
from tests.support.strangers import CONTENT, put
from tests.support.trees import copy_program


@pytest.mark.slow
def test_what_was_made_goes_and_what_was_not_is_named(
    tmp_path: Path, prepared: Path, tiny: Callable[..., list[str]]
) -> None:
    """By `make clean`, in a copy of the repository."""
    tree = copy_program(tmp_path / "tree")
    shutil.copy("Makefile", tree)
    data, run = tree / "data/danube_rehearsal", tree / "runs/danube_rehearsal"
    shutil.copytree(prepared, data)
    words = [f"data.dir={data}", f"exp_manager.exp_dir={run.parent}"]
    done = run_danube(*tiny(run.name, *words, "exp_manager.create_tensorboard_logger=true"))
    assert done.returncode == 0, done.stderr
    assert run_danube("report", str(run)).returncode == 0
    export = tree / "exports/danube_rehearsal"
    assert run_danube("convert", "to-hf", str(run), str(export)).returncode == 0
    assert (data / "used_by").is_dir()

    def make_clean() -> list[str]:
        command = ["make", "clean", f"BIN={Path(sys.executable).parent}"]
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
        return done.stderr.splitlines()

    folders = {path.parent for made in (data, run, export) for path in made.rglob("*") if path.is_file()}
    strangers = [path for folder in folders for path in put(folder, ["notes.txt"])]
    said = make_clean()
    assert sorted(said) == sorted(f"left, since danube did not make it: {path.relative_to(tree)}" for path in strangers)
    for folder in (data, run, export):
        assert {tree / path for path in strangers if path.is_relative_to(folder)} == {
            path for path in folder.rglob("*") if path.is_file()
        }
        shutil.rmtree(folder)
    assert make_clean() == []


def test_a_folder_of_somebody_elses_is_left_as_it_is(tmp_path: Path) -> None:
    strangers = put(tmp_path, ["config.yaml", "checkpoints/tokens_1/x", "manifest.json", "report/index.html"])
    assert clean(tmp_path) == sorted(strangers)
    assert all(path.read_bytes() == CONTENT for path in strangers)
