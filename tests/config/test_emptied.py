"""An empty mapping by name, in a recipe of one's own or on the command line, has nothing of its defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError

GIVEN = [
    "data.steps.encoder_quality.model=x",
    "data.steps.decontaminate.files=[x]",
    "data.steps.semdedup.encoder=x",
    "data.steps.prototypes.encoder=x",
]


def recipe(folder: Path, name: str, parent: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(f"defaults:\n  - {parent}\n  - _self_\nname: {name}\n{text}\n")


def test_a_recipe_without_its_parents_teachers(tmp_path: Path) -> None:
    """Nor has a recipe that builds on it; one that names others has those."""
    recipe(tmp_path, "alone", "loki_1_4b", "distillation: {teachers: {}}")
    recipe(tmp_path, "below", "alone", "")
    recipe(tmp_path, "other", "alone", "distillation: {teachers: {falcon: {targets: text}}}")
    for name, teachers in (("alone", []), ("below", []), ("other", ["falcon"])):
        found = load_config(name, GIVEN, tmp_path).distillation
        assert found is not None and list(found.teachers) == teachers and found.every_n_batches == 4
    again = load_config("alone", [*GIVEN, "distillation.teachers.gpt_4.targets=text"], tmp_path).distillation
    assert again is not None and list(again.teachers) == ["gpt_4"]


def test_sources_steps_stages_and_mixes(tmp_path: Path) -> None:
    stages = "curriculum: {stages: {}}"
    recipe(tmp_path, "bare", "loki_1_4b", f"data: {{sources: {{}}, steps: {{}}}}\n{stages}")
    recipe(tmp_path, "mine", "bare", "curriculum: {stages: {all: {tokens: 9_000_000_000, encoder_seq_length: 2048}}}")
    config = load_config("mine", ["model.rampup_batch_tokens=null", "model.optim.sched.warmup_tokens=1000"], tmp_path)
    assert list(config.curriculum.stages) == ["all"]
    assert config.data.sources == {} and config.data.steps.chosen == {}
    recipe(tmp_path, "unmixed", "loki_1_4b", "curriculum: {stages: {stage1: {mix: {}}}}")
    with pytest.raises(UserError, match=r"curriculum.stages.stage1.mix="):
        load_config("unmixed", GIVEN, tmp_path)
    with pytest.raises(UserError, match=r"curriculum.stages"):
        load_config("bare", [], tmp_path)


@pytest.mark.parametrize(
    "override", ["distillation.teachers={}", "distillation.teachers={ }", "distillation={teachers: {}}"]
)
def test_on_the_command_line(override: str) -> None:
    found = load_config("loki_1_4b", [*GIVEN, override]).distillation
    assert found is not None and found.teachers == {} and found.every_n_batches == 4
    found = load_config("loki_1_4b", [*GIVEN, override, "distillation.teachers.one={}"]).distillation
    assert found is not None and list(found.teachers) == ["one"]


def test_an_empty_section_of_options_leaves_them(tmp_path: Path) -> None:
    """A step is turned on by it, with what its parent says of it."""
    recipe(tmp_path, "same", "loki_1_4b", "data: {steps: {encoder_quality: {}}}")
    assert load_config("same", GIVEN, tmp_path).data.steps == load_config("loki_1_4b", GIVEN).data.steps
