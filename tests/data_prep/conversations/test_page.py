"""docs/chat.md says of each set which columns are read, and shows the figures of the plans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.load import load_any_config
from custom_modules.config.sft import SftConfig
from custom_modules.plan.preference_plan import plan_preferences
from custom_modules.plan.sample_plan import SamplePlan, plan_samples
from data_prep.conversations.sets import READERS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "chat.md").read_text()
ROWS = {
    cells[0].strip("` "): [cell.strip() for cell in cells]
    for line in PAGE.splitlines()
    if line.startswith("| `") and (cells := line.strip("|").split("|"))
}
OF_TREES = {"message_tree_id", "prompt", "replies"}
"""Columns that Oasst2 has as trees alone."""


@pytest.mark.parametrize("name", READERS)
def test_every_set_is_in_the_table_with_the_columns_that_are_read(name: str) -> None:
    _, _, columns, _ = ROWS[name]
    if name.startswith("oasst2_pairs"):
        assert columns == "as `oasst2`"
        columns = ROWS["oasst2"][2]
    said = set(re.findall(r"\w+", columns))
    assert READERS[name].columns - OF_TREES <= said


@pytest.mark.parametrize("recipe", ["danube_sft", "danube2_sft", "danube_dpo", "danube_dpo_oasst2"])
def test_the_figures_are_the_plans(recipe: str) -> None:
    config = load_any_config(recipe, ["data.dir=nothing"])
    assert isinstance(config, SftConfig | DpoConfig)
    plan = plan_samples(config) if isinstance(config, SftConfig) else plan_preferences(config)
    assert plan is not None and plan.gpu_hours is not None
    _, steps, tokens, compute, hours, _ = ROWS[recipe]
    count = plan.samples if isinstance(plan, SamplePlan) else plan.pairs
    assert steps == f"{plan.steps:,} of {plan.global_batch_size:,} = {count:,}"
    assert (tokens, compute) == (f"{plan.total_tokens:,}", f"{plan.flops:.3e} FLOPs")
    assert hours == f"{plan.gpu_hours:.1f}"
