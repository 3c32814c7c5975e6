"""A script per stage, for whatever recipe: they ask Slurm for the same, and differ in their stage only."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from custom_modules.arguments import parser
from custom_modules.config.load import load_config
from tests.support.recipes import recipes

SLURM = Path(__file__).resolve().parents[2] / "slurm"
TEMPLATE = (SLURM / "stage1.sh").read_text()
RECIPES = recipes()
SCRIPTS = sorted(SLURM.glob("*stage*.sh"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_stage_has_its_script(recipe: str) -> None:
    for stage in load_config(recipe).curriculum.stages:
        assert SLURM / f"{stage}.sh" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_differ_in_their_stage_only(script: Path) -> None:
    assert script.stem in load_config("danube_1_8b").curriculum.stages
    assert script.read_text() == TEMPLATE.replace("stage1", script.stem)
    assert script.stat().st_mode & 0o111


def test_the_callers_recipe_and_overrides_win(tmp_path: Path) -> None:
    """Outside Slurm, where the script becomes the program."""
    program = tmp_path / "venv" / "bin" / "danube"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)
    settings = (SLURM / "site.env").read_text()
    site, count = re.subn(r"^VENV=.*", f"VENV={tmp_path / 'venv'}", settings, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "site.env").write_text(site)
    done = subprocess.run(
        ["bash", str(SLURM / "stage3.sh"), "--config-name", "danube2", "model.seed=7"],
        env={"PATH": os.environ["PATH"], "DANUBE_SITE": str(tmp_path / "site.env")},
        capture_output=True,
        text=True,
        check=True,
    )
    options, left_over = parser().parse_known_args(done.stdout.splitlines())
    assert (options.command, options.config_name) == ("pretrain", "danube2")
    assert [*options.overrides, *left_over][-2:] == ["curriculum.stage=stage3", "model.seed=7"]
