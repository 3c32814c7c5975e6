"""The chat recipes: the numbers of sections 6 and 7, and rehearsals that only scale them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.load import CONFIG_DIR, load_any_config, load_config, validate, with_defaults
from custom_modules.config.model_parts import ArchitectureConfig
from custom_modules.config.schema import RunConfig
from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.text import flatten
from tests.support.recipes import recipes

SFT, DPO = recipes("sft"), recipes("dpo")
REHEARSALS = [name for name in SFT + DPO if name.endswith("_rehearsal")]

KEYS_THAT_SCALE = {
    "defaults",
    "name",
    "pretrained",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.precision",
    "trainer.log_every_n_tokens",
    "trainer.val_every_n_tokens",
    "trainer.limit_val_tokens",
    "trainer.log_every_n_samples",
    "trainer.val_every_n_samples",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens",
    "exp_manager.checkpoint_callback_params.every_n_train_samples",
    "model.restore_from_path",
    "model.encoder_seq_length",
    "model.micro_batch_size",
    "model.optim.lr",
}
FOLLOWS = {"exp_manager.name", "data.dir", *(f"model.{key}" for key in ArchitectureConfig.model_fields)}
"""What follows from a name, and from the recipe of the model."""


def scales(key: str) -> bool:
    parts = key.split(".")
    is_of_source = parts[:2] == ["data", "sources"] and len(parts) == 4 and parts[3] in ("path", "max_samples")
    return key in KEYS_THAT_SCALE or is_of_source


def flat(config: RunConfig) -> dict[str, Any]:
    return dict(flatten(config.model_dump(mode="json")))


def refusal(name: str, *overrides: str, kind: type[RunConfig] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_config(name, overrides, kind=kind) if kind else load_any_config(name, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_are_recipes() -> None:
    full_size = {"danube_sft", "danube2_sft"}, {"danube_dpo", "danube_dpo_oasst2", "danube2_dpo", "danube2_dpo_oasst2"}
    assert [{*SFT}, {*DPO}] == [names | {f"{name}_rehearsal" for name in names} for names in full_size]


@pytest.mark.parametrize("name", SFT + DPO)
def test_every_recipe_loads_as_what_it_is(name: str) -> None:
    config = load_any_config(name)
    assert (config.name, type(config)) == (name, SftConfig if name in SFT else DpoConfig)
    stored = config.model_dump(mode="json")
    assert validate(with_defaults(stored), kind=type(config)) == config


@pytest.mark.parametrize("key", ["reset_attention_mask", "reset_position_ids", "eod_mask_loss"])
@pytest.mark.parametrize("name", ["danube_sft", "danube_dpo"])
def test_samples_have_a_row_each(name: str, key: str) -> None:
    assert refusal(name, f"data.{key}=true").endswith(
        "each sample has a row of its own, and sees no other; leave it out"
    )


def test_sft_is_the_reports() -> None:
    config = load_config("danube_sft", kind=SftConfig)
    model, optim = config.model, config.model.optim
    assert (config.trainer.max_epochs, model.encoder_seq_length, model.global_batch_size) == (1, 16384, 8)
    assert (optim.lr, optim.sched.min_lr, optim.sched.warmup_epochs) == (1e-5, 0, 0.05)
    assert (optim.betas, optim.weight_decay, optim.clip_grad, model.fp8) == ((0.9, 0.999), 0, None, None)
    assert list(config.data.sources) == ["openorca", "metamathqa", "ultrachat200k", "oasst2"]
    assert config.data.expected_samples == 157_000
    assert (config.objective, model.restore_from_path) == ("answers", "runs/danube_1_8b")
    [stage] = Curriculum.from_config(config).stages
    assert (stage.steps, stage.seq_length, stage.num_microbatches) == (19_625, 16384, 1)


def test_dpo_is_the_reports() -> None:
    config = load_config("danube_dpo", kind=DpoConfig)
    model, lora = config.model, config.model.peft.lora_tuning
    assert (lora.adapter_dim, lora.alpha, lora.adapter_dropout) == (4, 16, 0.05)
    assert (config.trainer.max_epochs, model.global_batch_size, model.optim.lr) == (1, 2, 1e-5)
    assert (model.dpo.ref_policy_kl_penalty, model.optim.clip_grad) == (0.2, 10)
    assert (model.optim.sched.warmup_epochs, model.optim.sched.min_lr, model.optim.weight_decay) == (0, 0, 0)
    assert config.data.expected_samples == 76_412


def test_the_second_dpo_has_another_rate_and_other_pairs() -> None:
    first, second = (load_config(name, kind=DpoConfig) for name in ("danube_dpo", "danube_dpo_oasst2"))
    assert second.model.optim.lr == 3e-6
    assert list(second.data.sources) == ["oasst2"] and second.data.sources["oasst2"].ends_only
    assert second.model.restore_from_path == str(first.run_dir)
    named = {"name", "exp_manager.name", "data.dir", "model.restore_from_path", "model.optim.lr"}
    ours, theirs = flat(second), flat(first)
    assert {key for key in theirs if ours.get(key) != theirs[key] and not key.startswith("data.sources.")} == named


@pytest.mark.parametrize("kind", ["sft", "dpo", "dpo_oasst2"])
def test_danube2s_are_danubes_with_its_model_at_half_the_length(kind: str) -> None:
    ours, theirs = load_any_config(f"danube2_{kind}"), load_any_config(f"danube_{kind}")
    assert isinstance(ours, SftConfig | DpoConfig)
    assert (ours.model.sliding_window, ours.model.encoder_seq_length) == (None, 8192)
    mine, others = flat(ours), flat(theirs)
    assert {key for key in mine if mine[key] != others[key]} == {
        "name",
        "exp_manager.name",
        "data.dir",
        "pretrained",
        "model.sliding_window",
        "model.restore_from_path",
        "model.encoder_seq_length",
    }


@pytest.mark.parametrize("name", SFT + DPO)
def test_a_model_is_that_of_its_recipe(name: str) -> None:
    config = load_any_config(name)
    assert isinstance(config, SftConfig | DpoConfig) and config.pretrained
    model = load_config(config.pretrained).model
    for key in ArchitectureConfig.model_fields:
        assert getattr(config.model, key) == getattr(model, key)


@pytest.mark.parametrize("name", REHEARSALS)
def test_a_rehearsal_inherits_and_only_scales(name: str) -> None:
    written = yaml.safe_load((CONFIG_DIR / f"{name}.yaml").read_text())
    of = name.removesuffix("_rehearsal")
    assert written["defaults"] == [of, {"scale": "laptop_chat"}, "_self_"]
    scale = yaml.safe_load((CONFIG_DIR / "scale" / "laptop_chat.yaml").read_text())
    assert [key for key, _ in flatten(written | scale) if not scales(key)] == []
    ours, theirs = flat(load_any_config(name)), flat(load_any_config(of))
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if ours[key] != theirs[key] and not scales(key) and key not in FOLLOWS] == []


def test_a_rehearsals_last_batch_is_smaller_as_it_may_be_anywhere() -> None:
    config = load_config("danube_sft_rehearsal", kind=SftConfig)
    assert config.data.expected_samples == 157_000 / 50
    assert config.data.expected_samples % config.model.global_batch_size


def test_what_a_report_does_not_say_is_marked() -> None:
    """Every key of section 6's recipes is the report's, as it is here, or marked `assumed` on its line."""
    said = {
        "danube_sft": "num_nodes max_epochs restore_from_path encoder_seq_length lr name",
        "danube_dpo": "num_nodes max_epochs restore_from_path adapter_dim alpha ref_policy_kl_penalty lr name",
    }
    for recipe, words in said.items():
        for line in (CONFIG_DIR / f"{recipe}.yaml").read_text().splitlines():
            key, _, value = line.strip().partition(": ")
            if line.startswith("  ") and value.split("#")[0].strip() and not line.lstrip().startswith(("#", "- ")):
                is_said = key in words.split() or "max_samples" in value or key == "global_batch_size"
                assert is_said or "assumed" in value, line


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("danube_sft", "model.global_batch_tokens=8192", "model.global_batch_tokens=8192: no such key; "),
        ("danube_sft", "curriculum.stage=stage1", "curriculum.stage=stage1: no such key; "),
        ("danube_sft", "model.optim.sched.warmup_epoch=1", "model.optim.sched.warmup_epoch=1: no such key; did you m"),
        ("danube_sft", "data.sources.openorca.max_sample=5", "data.sources.openorca.max_sample=5: no such key; did"),
        ("danube_sft", "model.optim.sched.warmup_epochs=1", "model.optim.sched.warmup_epochs=1: not below trainer."),
        ("danube_sft", "trainer.devices=3", "trainer.devices=3: sft has 8 sequences a step, which data-parallel"),
        ("danube_sft", "model.micro_batch_size=3", "model.micro_batch_size=3: sft has 8 sequences a step, which"),
        ("danube_sft", "model.optim.lr=0", "model.optim.lr=0: input should be greater than 0"),
        ("danube_sft", "data.sources={a+b: {path: x}}", "data.sources.a+b: a source's name is also a file's"),
        ("danube_sft", "pretrained=danube_3", "pretrained=danube_3: no danube_3.yaml in "),
        ("danube_sft", "kind=rlhf", "kind=rlhf: no such kind of run; there are: pretrain, sft, dpo"),
        (
            "danube_dpo",
            "model.peft.lora_tuning.adapter_dims=4",
            "model.peft.lora_tuning.adapter_dims=4: no such key; did you mean",
        ),
        ("danube_dpo", "model.tensor_model_parallel_size=2", "model.tensor_model_parallel_size=2: no such key; see "),
        ("danube_dpo", "model.dpo.beta=0.1", "model.dpo.beta=0.1: no such key; see nemo_configs/base_dpo.yaml and "),
    ],
)
def test_refusals(name: str, override: str, message: str) -> None:
    assert refusal(name, override).startswith(message)


def test_a_recipe_of_another_kind_is_refused_with_its_command() -> None:
    said = refusal("danube_sft", kind=DpoConfig)
    assert said == "--config-name danube_sft: a recipe of `danube sft`, and of no other kind of run"
    with pytest.raises(UserError, match="a recipe of `danube sft`"):
        load_config("danube_sft")
    with pytest.raises(UserError, match="a recipe of `danube pretrain`"):
        load_config("danube_1_8b", kind=SftConfig)


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    """A recipe of one's own names one's own model, and keys that are given win over that model's."""
    (tmp_path / "mine.yaml").write_text("defaults: [danube_1_8b, _self_]\nname: mine\nmodel: {num_layers: 12}\n")
    (tmp_path / "mine_sft.yaml").write_text("defaults: [danube_sft, _self_]\nname: mine_sft\npretrained: mine\n")
    config = load_config("mine_sft", ["model.layernorm_epsilon=1e-6"], tmp_path, kind=SftConfig)
    assert (config.model.num_layers, config.model.hidden_size, config.model.layernorm_epsilon) == (12, 2560, 1e-6)


def test_nemos_keys_are_translated() -> None:
    config = load_config("danube_sft", ["model.window_size=48", "trainer.gpus=2"], kind=SftConfig)
    assert (config.model.sliding_window, config.trainer.devices) == (48, 2)
