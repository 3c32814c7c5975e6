"""The recipes in nemo_configs/: the paper's numbers, and a rehearsal that only scales them."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from custom_modules.config.load import CONFIG_DIR, load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.streams import StageStreams
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.errors import UserError
from data_prep.clean.build import build_steps
from tests.support.recipes import recipes

RECIPES = recipes()
REHEARSALS = [name for name in RECIPES if name.endswith("_rehearsal")]

KEYS_THAT_SCALE = {
    "distillation.teachers.mistral_7b.parameters",
    "distillation.teachers.llama2_13b.parameters",
    "defaults",
    "name",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.precision",
    "trainer.log_every_n_tokens",
    "trainer.val_every_n_tokens",
    "trainer.limit_val_tokens",
    *(f"trainer.evaluate.{key}" for key in ("tasks", "every_n_tokens", "limit", "data")),
    "exp_manager.checkpoint_callback_params.every_n_train_tokens",
    "model.num_layers",
    "model.hidden_size",
    "model.ffn_hidden_size",
    "model.num_attention_heads",
    "model.num_query_groups",
    "model.vocab_size",
    "model.sliding_window",
    "model.fp8",
    "model.global_batch_tokens",
    "model.rampup_batch_tokens",
    "model.micro_batch_tokens",
    "model.tokenizer.model",
    "model.optim.lr",
    "model.optim.grad_sync_dtype",
    "model.optim.sched.warmup_tokens",
    "model.optim.sched.min_lr",
    *(f"curriculum.stages.stage{n}.{key}" for n in range(1, 5) for key in ("tokens", "encoder_seq_length")),
    "distillation.prefix_tokens",
    "data.input",
    "data.train_tokenizer",
    "data.validation_fraction",
    "data.max_epochs",
}
SCALES_WITHIN = ("data.sources.", "data.max_epochs.", "data.steps.")
"""Sections whose keys are the rehearsal's own: another text, little of it, and of another kind than the web's."""


@pytest.fixture(scope="module")
def recipe() -> Config:
    return load_config("danube_1_8b")


@pytest.fixture(scope="module")
def rehearsal() -> Config:
    return load_config("danube_rehearsal")


def flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def exact(value: float) -> Fraction:
    """The decimal number as it is written."""
    return Fraction(str(value))


def budgets(config: Config) -> list[int]:
    return [stage.tokens for stage in config.curriculum.stages.values()]


def lengths(config: Config) -> list[int]:
    return [stage.encoder_seq_length for stage in config.curriculum.stages.values()]


def stages_of(name: str) -> tuple[Stage, ...]:
    return Curriculum.from_config(load_config(name)).stages


def test_there_are_recipes() -> None:
    assert {"danube_1_8b", "danube2", "danube_500m", "danube_rehearsal", "danube2_rehearsal", "loki_1_4b"} <= {*RECIPES}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_loads(name: str) -> None:
    assert load_config(name).name == name


def test_the_recipe_is_the_reports(recipe: Config) -> None:
    model, optim = recipe.model, recipe.model.optim
    assert (model.num_layers, model.hidden_size, model.ffn_hidden_size) == (24, 2560, 6912)
    assert (model.num_attention_heads, model.num_query_groups, model.head_dim) == (32, 8, 80)
    assert (model.vocab_size, model.padded_vocab_size, model.sliding_window) == (32000, 32000, 4096)
    assert budgets(recipe) == [700 * 10**9, 100 * 10**9, 100 * 10**9, 100 * 10**9]
    assert lengths(recipe) == [2048, 4096, 8192, 16384]
    assert model.global_batch_tokens == 1_179_648
    assert (optim.lr, optim.sched.min_lr, optim.sched.warmup_tokens) == (2e-4, 1e-5, 2_359_296_000)
    assert (optim.betas, optim.weight_decay, optim.clip_grad) == ((0.9, 0.95), 0.1, 1.0)
    assert (recipe.trainer.world_size, model.fp8) == (8, "hybrid")


@pytest.mark.parametrize("name", ["danube_1_8b", "danube_500m", "danube_rehearsal"])
def test_proportions_of_the_report(name: str) -> None:
    config = load_config(name)
    first = budgets(config)[1]
    assert budgets(config) == [7 * first, first, first, first]
    assert lengths(config) == [lengths(config)[0] * factor for factor in (1, 2, 4, 8)]
    assert config.model.sliding_window == 2 * lengths(config)[0]
    assert config.model.num_attention_heads == 4 * config.model.num_query_groups
    stages = Curriculum.from_config(config).stages
    assert {stage.global_batch_size * stage.seq_length for stage in stages} == {config.model.global_batch_tokens}


def test_the_smaller_danube_is_half_as_wide_and_differs_in_nothing_else(recipe: Config) -> None:
    small = load_config("danube_500m")
    width = {"hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups"}
    ours, theirs = flat(small.model.model_dump()), flat(recipe.model.model_dump())
    assert {key for key in ours if ours[key] != theirs[key]} == width | {"optim.sched.warmup_tokens"}
    assert all(2 * ours[key] == theirs[key] for key in width)
    assert small.model.head_dim == recipe.model.head_dim
    assert small.trainer == recipe.trainer
    assert [100 * tokens for tokens in budgets(small)] == budgets(recipe)
    assert lengths(small) == lengths(recipe)


def test_the_rehearsal_is_the_recipe_to_scale(recipe: Config, rehearsal: Config) -> None:
    scale = Fraction(sum(budgets(recipe)), sum(budgets(rehearsal)))
    assert scale == 256_000
    assert [scale * tokens for tokens in budgets(rehearsal)] == budgets(recipe)
    assert scale * rehearsal.model.optim.sched.warmup_tokens == recipe.model.optim.sched.warmup_tokens
    for config in (recipe, rehearsal):
        assert exact(config.model.optim.sched.min_lr) / exact(config.model.optim.lr) == Fraction(1, 20)
    ratios = [config.model.ffn_hidden_size / config.model.hidden_size for config in (recipe, rehearsal)]
    assert ratios[1] == pytest.approx(ratios[0], rel=0.02)


@pytest.mark.parametrize("name", REHEARSALS)
def test_a_rehearsal_inherits_and_only_scales(name: str) -> None:
    written = yaml.safe_load((CONFIG_DIR / f"{name}.yaml").read_text())
    of = written["defaults"][0]
    assert written["defaults"] == [of, {"scale": "laptop"}, "_self_"]
    scale = yaml.safe_load((CONFIG_DIR / "scale" / "laptop.yaml").read_text())
    allowed = KEYS_THAT_SCALE | {"model.restore_from_path"}
    assert {key for key in flat(written) | flat(scale) if not key.startswith(SCALES_WITHIN)} <= allowed
    config, full_size = load_config(name), load_config(of)
    ours, theirs = flat(config.model_dump()), flat(full_size.model_dump())
    differing = {key for key in ours if key not in theirs or ours[key] != theirs[key]}
    assert {key for key in differing if not key.startswith(SCALES_WITHIN)} <= allowed | {"exp_manager.name", "data.dir"}
    assert list(config.data.steps.chosen) == list(full_size.data.steps.chosen)


def test_micro_batches_fill_a_device_alike_in_every_stage() -> None:
    sizes = {name: [stage.micro_batch_size for stage in stages_of(name)] for name in ("danube_1_8b", "danube2")}
    assert sizes == {"danube_1_8b": [8, 4, 2, 1], "danube2": [2, 2, 2]}


@pytest.mark.parametrize("name", REHEARSALS)
def test_a_rehearsal_accumulates_as_the_cluster_does(name: str) -> None:
    assert all(stage.num_microbatches > 1 for stage in stages_of(name))


def test_danube2_is_the_reports(recipe: Config) -> None:
    """Section 7: what changed, and nothing else."""
    danube2 = load_config("danube2")
    assert budgets(danube2) == [10**12, 95 * 10**10, 5 * 10**10]
    assert lengths(danube2) == [8192, 8192, 8192]
    assert danube2.model.sliding_window is None
    mixes = [stage.mix or {} for stage in danube2.curriculum.stages.values()]
    assert [mix["web"] for mix in mixes] == [0.845, 0.728, 0.555]
    assert [stage.reported_mix for stage in danube2.curriculum.stages.values()] == [
        {"web": mix["web"]} for mix in mixes
    ]
    for before, after in pairwise(mixes):
        assert before.keys() == after.keys()
        assert all(before[source] < after[source] for source in before if source != "web")
    ours, theirs = flat(danube2.model_dump(exclude={"curriculum"})), flat(recipe.model_dump(exclude={"curriculum"}))
    named = {"name", "exp_manager.name", "data.dir"}
    differing = {key for key in ours if key not in theirs or ours[key] != theirs[key]} - named
    assert {key for key in differing if not key.startswith("data.steps.")} == {
        "model.sliding_window",
        "model.restore_from_path",
    }


def test_danube2s_data_goes_through_heuristics_and_both_small_models() -> None:
    steps = load_config("danube2").data.steps.chosen
    models = {"gbm_quality", "encoder_quality"}
    assert models < set(steps)
    heuristics = [step for step in DATA_STEPS if step.name in set(steps) - models]
    assert heuristics and all("datatrove" in step.source and steps[step.name] == {} for step in heuristics)
    assert all(options["model"] == "???" for name, options in steps.items() if name in models), "yours to give"


def test_loki_is_the_reports() -> None:
    """Sections 2.1 to 2.3 and 3.3."""
    loki = load_config("loki_1_4b")
    model = loki.model
    assert (model.num_layers, model.num_attention_heads, model.hidden_size) == (24, 32, 2048)
    assert (model.vocab_size, model.padded_vocab_size, model.head_dim) == (32000, 32000, 64)
    assert (model.position_embedding_type, model.normalization, model.activation) == ("alibi", "rmsnorm", "swiglu")
    assert model.ffn_hidden_size == -(-model.hidden_size * 8 // 3 // 256) * 256
    assert (model.fsdp, model.fp8, loki.trainer.world_size) == (True, "hybrid", 8)
    assert sum(budgets(loki)) == 2 * 250 * 10**9
    assert loki.data.max_epochs == 2
    first, *others = [stage.mix or {} for stage in loki.curriculum.stages.values()]
    assert first.keys() == {"web", "generated"}
    assert all("generated" not in mix for mix in others)
    assert set(loki.data.steps.chosen) == {"encoder_quality", "semdedup", "prototypes", "facts", "decontaminate"}
    ramp = model.rampup_batch_tokens
    assert ramp and ramp.tokens == budgets(loki)[0] == 50 * 10**9
    assert model.global_batch_tokens / ramp.first == model.global_batch_tokens / ramp.increment == 8


def test_lokis_data_asks_at_once_for_all_that_is_the_users(tmp_path: Path) -> None:
    """What no command of ours can make up: a classifier, an encoder, the benchmarks; each key in full."""
    sources = [f"data.sources.{name}={tmp_path}" for name in ("web", "generated")]
    steps = load_config("loki_1_4b", sources).data.steps.chosen
    with pytest.raises(UserError) as refused:
        build_steps(steps)
    message = str(refused.value)
    asked = [f"data.steps.{step}.{key}" for step, options in steps.items() for key in options if options[key] == "???"]
    assert len(asked) == 4 and all(f"{key}" in message for key in asked)
    assert "danube train-quality encoder FOLDER" in message and "the benchmarks" in message and "\n" not in message


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("loki_1_4b", ["ffn_hidden_size: ", "num_query_groups: ", "layernorm_epsilon: ", "global_batch_tokens: "]),
        ("loki_1_4b", ["rampup_batch_tokens: "]),
        (
            "loki_1_4b",
            ["encoder_seq_length: ", " lr: ", "warmup_tokens: ", "min_lr: ", " eps: ", "generated: ", "fp8: "],
        ),
        ("loki_1_4b", ["tokens: 50_000", "keep_quantile: ", "max_epochs: ", "validation_fraction: ", "micro_batch_"]),
        ("danube_1_8b", ["validation_fraction: ", "norms have none", "windows, and attention", "Llama's two norms"]),
        ("danube_1_8b", ["layernorm_epsilon: ", "rotary_base: ", "fp8_recipe: ", "micro_batch_tokens: ", "eps: "]),
        ("danube_1_8b", ["fp8: ", "global_batch_tokens: "]),
        ("danube2", ["encoder_seq_length: 8192", "FP8", "8xH100", "batch", "keep_quantile: ", "gopher_", "fineweb_"]),
    ],
)
def test_what_the_paper_does_not_say_is_marked_assumed(recipe: str, words: list[str]) -> None:
    """Each in its own comment, whose lines are read as one."""
    text = (CONFIG_DIR / f"{recipe}.yaml").read_text()
    text = re.sub(r"\n *# *", " ", text)
    for word in words:
        lines = [line for line in text.splitlines() if word in line]
        assert lines, word
        assert all("assumed" in line for line in lines), lines


def test_the_rehearsal_of_danube2_is_danube2_to_scale() -> None:
    danube2, rehearsal = load_config("danube2"), load_config("danube2_rehearsal")
    assert [500_000 * tokens for tokens in budgets(rehearsal)] == budgets(danube2)
    warmup = [config.model.optim.sched.warmup_tokens for config in (rehearsal, danube2)]
    assert 500_000 * warmup[0] == pytest.approx(warmup[1], rel=1e-4)
    first = load_config("danube_rehearsal")
    assert {length * 16 for length in lengths(rehearsal)} == set(lengths(danube2))
    assert [length * 16 for length in lengths(first)] == lengths(load_config("danube_1_8b"))
    shape = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "vocab_size")
    assert all(getattr(rehearsal.model, key) == getattr(first.model, key) for key in shape)


def test_the_rehearsal_of_loki_is_loki_to_scale() -> None:
    """The ramp is a tenth of the tokens, text is read twice, and every fourth batch is distilled, at both sizes."""
    loki, rehearsal = load_config("loki_1_4b"), load_config("loki_rehearsal")
    scale = Fraction(sum(budgets(loki)), sum(budgets(rehearsal)))
    assert [scale * tokens for tokens in budgets(rehearsal)] == budgets(loki)
    assert scale * rehearsal.model.optim.sched.warmup_tokens == pytest.approx(
        loki.model.optim.sched.warmup_tokens, rel=1e-4
    )
    assert {length * 16 for length in lengths(rehearsal)} == set(lengths(loki))
    for config in (loki, rehearsal):
        ramp = config.model.rampup_batch_tokens
        assert ramp and 10 * ramp.tokens == sum(budgets(config))
        assert 8 * ramp.first == 8 * ramp.increment == config.model.global_batch_tokens
        assert exact(config.model.optim.sched.min_lr) / exact(config.model.optim.lr) == Fraction(1, 10)
        assert config.model.ffn_hidden_size * 4 == config.model.hidden_size * 11
        assert config.model.num_query_groups == config.model.num_attention_heads
        assert config.distillation and config.distillation.every_n_batches == 4
        assert config.distillation.prefix_tokens * 16 == lengths(config)[0]
        assert {config.data.max_epochs_of(source) for source in ("web", "generated")} == {2}
        curriculum = Curriculum.from_config(config)
        streams = [StageStreams(stage, 4) for stage in curriculum.stages]
        shares = [each.distilled_samples / each.stage.num_samples for each in streams]
        assert shares == pytest.approx([0.25, 0.25], abs=0.03), "whole steps are dealt out"
    assert loki.distillation and rehearsal.distillation
    targets, scaled = (
        {name: teacher.targets for name, teacher in config.distillation.teachers.items()}
        for config in (loki, rehearsal)
        if config.distillation
    )
    assert targets == scaled, "a teacher's size is of the recipe's own alone"
    assert [stage.mix for stage in loki.curriculum.stages.values()] == [
        stage.mix for stage in rehearsal.curriculum.stages.values()
    ]


def test_what_is_assumed_of_loki_is_in_the_docs() -> None:
    page = (CONFIG_DIR.parent / "docs" / "loki.md").read_text().partition("## Assumed")[2]
    text = (CONFIG_DIR / "loki_1_4b.yaml").read_text()
    marked = re.findall(r"^ *(\w+):.*# (?:.*)assumed", text, flags=re.MULTILINE)
    assert len(marked) > 30
    assert [key for key in marked if key not in page] == []
