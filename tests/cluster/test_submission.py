"""What the chain asks sbatch for follows from the config."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from custom_modules.cluster.submission import plan_submission
from custom_modules.config.load import load_config
from custom_modules.errors import UserError


def lines(name: str, *overrides: str, first: str | None = None, last: str | None = None) -> list[list[str]]:
    config = load_config(name, ["exp_manager.exp_dir=/runs of mine", *overrides])
    return [shlex.split(line) for line in plan_submission(config, first, last, after="12")]


def test_the_recipe_asks_for_the_nodes_of_the_report() -> None:
    stages = lines("danube_1_8b")
    assert [stage for stage, *_ in stages] == ["stage1", "stage2", "stage3", "stage4"]
    for stage, *options in stages:
        assert options == [
            "--nodes=1",
            "--ntasks-per-node=8",
            "--gpus-per-node=8",
            f"--job-name=danube_1_8b-{stage}",
            "--comment=/runs of mine/danube_1_8b",
        ]


def test_a_cpu_rehearsal_asks_for_no_gpus() -> None:
    (_, *options), *_ = lines(
        "danube_rehearsal", "trainer.num_nodes=2", "trainer.devices=4", "model.micro_batch_size=8"
    )
    assert options[:3] == ["--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=0"]


def test_a_part_of_the_chain() -> None:
    assert [stage for stage, *_ in lines("danube_1_8b", first="stage2", last="stage3")] == ["stage2", "stage3"]


def test_without_a_job_before_it_the_run_must_be_there(tmp_path: Path) -> None:
    config = load_config("danube_1_8b", [f"exp_manager.exp_dir={tmp_path}", f"data.dir={tmp_path}"])
    with pytest.raises(UserError, match=r"--from stage2: starts at 700,000,763,904 tokens, but .* is at 0"):
        list(plan_submission(config, "stage2", None, None))
    with pytest.raises(UserError, match="nothing is prepared there"):
        list(plan_submission(config, None, None, None))
