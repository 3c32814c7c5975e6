"""The stages' scripts ask Slurm for the same, and say for which recipe and stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_modules.config.load import load_config

SLURM = Path(__file__).resolve().parents[2] / "slurm"
TEMPLATE = (SLURM / "stage1.sh").read_text()


@pytest.mark.parametrize(("recipe", "prefix"), [("danube_1_8b", ""), ("danube2", "danube2_")])
def test_every_stage_has_its_script(recipe: str, prefix: str) -> None:
    for stage in load_config(recipe).curriculum.stages:
        name = f"{prefix}{stage}"
        expected = TEMPLATE.replace("danube-stage1", f"{recipe.partition('_')[0]}-{stage}")
        expected = expected.replace("slurm/stage1.sh", f"slurm/{name}.sh")
        if prefix:
            expected = expected.replace(f"{name}.sh [--config-name NAME]", f"{name}.sh")
        expected = expected.replace("train stage1", f"train {stage}{f' --config-name {recipe}' if prefix else ''}")
        assert (SLURM / f"{name}.sh").read_text() == expected
        assert (SLURM / f"{name}.sh").stat().st_mode & 0o111
