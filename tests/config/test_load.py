"""Overrides as on NeMo's command line; unknown keys and wrong types end in one line that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from custom_modules.config.load import CONFIG_DIR, load_config, validate
from custom_modules.config.marks import known_keys
from custom_modules.config.schema import Config
from custom_modules.errors import UserError


def refusal(*overrides: str, name: str = "danube_1_8b", config_dir: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_config(name, overrides, config_dir)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("trainer.devices=4", 4),
        ("trainer.num_nodes=3", 3),
        ("trainer.precision=bf16", "bf16-mixed"),
        ("trainer.precision=bf16", "bf16-mixed"),
        ("+trainer.cpu_threads=2", 2),
        ("++trainer.cpu_threads=2", 2),
        ("model.optim.name=distributed_fused_adam", "distributed_fused_adam"),
        ("model.optim.lr=3e-4", 3e-4),
        ("model.optim.betas=[0.9,0.99]", (0.9, 0.99)),
        ("model.sliding_window=null", None),
        ("model.global_batch_tokens=2_359_296", 2_359_296),
        ("model.encoder_seq_length=2048", 2048),
        ("exp_manager.exp_dir=/scratch/runs", "/scratch/runs"),
        ("data.input=[a.jsonl,b.parquet]", ["a.jsonl", "b.parquet"]),
        ("curriculum.stage=stage2", "stage2"),
    ],
)
def test_overrides_in_nemos_grammar(override: str, value: object) -> None:
    config: object = load_config("danube_1_8b", [override])
    for part in override.lstrip("+").partition("=")[0].split("."):
        config = getattr(config, part)
    assert config == value


def test_a_stage_can_be_changed_added_and_left_out() -> None:
    overrides = [
        "curriculum.stages.stage1.tokens=10",
        "curriculum.stages.stage4.micro_batch_size=3",
        "~curriculum.stages.stage2",
        "curriculum.stages.last={tokens: 5, encoder_seq_length: 4096}",
    ]
    stages = load_config("danube_1_8b", overrides).curriculum.stages
    assert list(stages) == ["stage1", "stage3", "stage4", "last"]
    assert (stages["stage1"].tokens, stages["stage4"].micro_batch_size, stages["last"].tokens) == (10, 3, 5)


def test_names_follow_the_runs_name() -> None:
    config = load_config("danube_1_8b", ["name=mine"])
    assert (config.exp_manager.name, config.data.dir, config.run_dir) == ("mine", "data/mine", Path("runs/mine"))


def test_a_config_is_frozen() -> None:
    config = load_config("danube_1_8b")
    with pytest.raises(ValueError, match="frozen"):
        config.trainer.devices = 1  # type: ignore[misc]


def test_a_dumped_config_validates_to_itself() -> None:
    config = load_config("danube_rehearsal")
    assert validate(config.model_dump(mode="json")) == config


def test_ones_own_folder_may_build_on_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [danube_1_8b, _self_]\nname: mine\nmodel: {num_layers: 12}\n")
    config = load_config("mine", ["model.seed=7"], tmp_path)
    assert (config.name, config.model.num_layers, config.model.hidden_size, config.model.seed) == ("mine", 12, 2560, 7)


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    message = refusal(name="danube_2b")
    assert "danube_2b" in message
    known = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml") if not path.stem.startswith("base"))
    assert {"danube_1_8b", "danube_rehearsal"} <= set(known)
    assert message.endswith(f"there are: {', '.join(known)}")


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("trainer.devicez=8", "trainer.devices"),
        ("trainer.node=8", "trainer.num_nodes"),
        ("model.optim.sched.warmup=5", "model.optim.sched.warmup_tokens"),
        ("model.optimm.lr=1", "model.optim"),
        ("model.lr=1", "model.optim.lr"),
        ("model.num_layer=2", "model.num_layers"),
        ("data.max_epoch=2", "data.max_epochs"),
        ("seed=1", "model.seed"),
        ("micro_batch_size=2", "model.micro_batch_size"),
        ("curriculum.stages.stage2.seq_length=4096", "curriculum.stages.stage2.encoder_seq_length"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(override: str, advice: str) -> None:
    message = refusal(override)
    key, _, value = override.partition("=")
    section = key.rpartition(".")[0]
    assert key in message or section in message
    assert value in message
    assert "no such key" in message
    assert advice in message


@pytest.mark.parametrize(
    ("override", "works"),
    [
        ("trainer.devices=eight", "integer"),
        ("trainer.devices=2.5", "integer"),
        ("trainer.devices=true", "number"),
        ("trainer.devices=null", "integer"),
        ("trainer.devices=0", "greater than 0"),
        ("trainer.accelerator=tpu", "'auto', 'gpu' or 'cpu'"),
        ("trainer.precision=fp64", "'bf16-mixed' or '32-true'"),
        ("model.sliding_window=0", "greater than or equal to 1"),
        ("model.sliding_window=-1", "greater than or equal to 1"),
        ("model.fp8=e5m2", "'hybrid' or 'e4m3'"),
        ("model.optim.lr=fast", "number"),
        ("model.optim.lr=nan", "finite"),
        ("model.optim.name=sgd", "'adamw' or 'distributed_fused_adam'"),
        ("model.optim.sched.name=Linear", "'CosineAnnealing'"),
        ("model.seed=-1", "greater than or equal to 0"),
        ("data.input=7", "string"),
        ("data.on_error=ignore", "'skip' or 'raise'"),
        ("data.validation_fraction=1.5", "less than 1"),
        ("data.max_epochs=0", "whole number above 0"),
        ("data.max_epochs=true", "whole number above 0"),
        ("data.max_epochs={web: 1.5}", "whole number above 0"),
        ("model.optim=adamw", "dictionary"),
        ("model.vocab_size=???", "model.vocab_size=VALUE"),
    ],
)
def test_a_wrong_value_is_named_with_what_works(override: str, works: str) -> None:
    message = refusal(override)
    key, _, value = override.partition("=")
    assert message.startswith(key)
    assert works in message
    assert value in message or value == "???"


def test_a_key_that_a_recipe_leaves_out_is_named() -> None:
    assert refusal("~model.num_layers").startswith("model.num_layers: not set")


@pytest.mark.parametrize("override", ["trainer.devices", "trainer.devices=[1,", "model.vocab_size=${model.nothing}"])
def test_what_hydra_cannot_read_is_one_line_that_names_it(override: str) -> None:
    assert refusal(override).startswith(override.partition("=")[0])


def test_known_keys_are_the_files_keys() -> None:
    keys = set(known_keys(Config))
    assert {"trainer.devices", "model.optim.sched.min_lr", "curriculum.stages.<stage>.micro_batch_size"} <= keys


def test_a_section_at_once_may_have_keys_that_no_file_has() -> None:
    teachers = load_config("loki_1_4b", ["distillation={teachers: {gpt_4: {parameters: 8}}}"]).distillation
    assert teachers is not None
    assert teachers.teachers["gpt_4"].parameters == 8 and teachers.texts == ("gpt_4",)
    with pytest.raises(UserError, match=r"^distillation\.teachers\.own\.target=text: .*\.own\.targets\?"):
        load_config("danube_1_8b", ["distillation={teachers: {own: {target: text}}}"])
    with pytest.raises(UserError, match=r"^destillation\.top_k=4: no such key"):
        load_config("danube_1_8b", ["destillation={top_k: 4}"])


def test_no_teachers_on_the_command_line() -> None:
    """Hydra merges `{}` into what is there."""
    teachers = "distillation={prefix_tokens: 64, teachers: {one: {targets: top_k}, two: {targets: text}}}"
    given = load_config("danube_rehearsal", [teachers]).distillation
    assert given is not None
    assert (given.distributions, given.texts) == (("one",), ("two",))
    for none in ("distillation.teachers={}", "distillation.teachers=null"):
        config = load_config("danube_rehearsal", [teachers, none])
        assert config.distillation is not None
        assert not config.distillation.teachers
    one = load_config("danube_rehearsal", [teachers, "distillation.teachers.two=null"]).distillation
    assert one is not None
    assert list(one.teachers) == ["one"]
    assert load_config("danube_rehearsal", [teachers, "distillation=null"]).distillation is None
