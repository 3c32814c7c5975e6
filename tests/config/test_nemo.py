"""NeMo's keys: each has a fate, what is accepted has its effect or is so anyway, and what is refused is told "
"what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import compose, load_config
from custom_modules.config.marks import known_keys
from custom_modules.config.nemo.fates import Fate
from custom_modules.config.nemo.page import page
from custom_modules.config.nemo.settings import Refused, Settings
from custom_modules.config.nemo.table import TABLE, find
from custom_modules.config.nemo.translate import translate
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.text import as_yaml, say_once

ROOT = Path(__file__).resolve().parents[2]
NEMO_2_0 = (Path(__file__).parent / "megatron_gpt_config.txt").read_text().split()
"""The names of the keys of NeMo 2.0's `megatron_gpt_config.yaml`."""
OWN = set(known_keys(Config))
TAKEN = OWN | {name for name, entry in TABLE.items() if entry.fate is Fate.TRANSLATED}
BATCH = 1_179_648
"""Tokens in a step of danube_1_8b."""
KEY = re.compile(r"\b(?:trainer|exp_manager|model|data|curriculum)\.[a-z_][\w.<>]*\w>?")


@pytest.fixture(autouse=True)
def _nothing_said() -> None:
    say_once.cache_clear()


def value_of(config: object, key: str) -> Any:
    for name in key.split("."):
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    return config


def refusal(*overrides: str, name: str = "danube_1_8b", folder: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_config(name, overrides, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unknown_keys(text: str) -> set[str]:
    """The dotted keys in a text that are neither accepted, nor sections of keys that are."""
    found = {re.sub(r"\.stages\.(?!<)\w+", ".stages.<stage>", key) for key in KEY.findall(text)}
    return {key for key in found if not any(own == key or own.startswith(f"{key}.") for own in TAKEN)}


def test_every_key_of_nemos_config_has_a_fate() -> None:
    assert len(NEMO_2_0) == 199
    assert [key for key in NEMO_2_0 if key not in OWN and find(key) is None] == []


def test_entries_name_keys_that_there_are() -> None:
    for entry in TABLE.values():
        assert (entry.name in OWN) == (entry.fate is Fate.SAME), entry.name
        assert {target for target in entry.targets if target != "curriculum.stages"} <= OWN, entry.name
        assert bool(entry.targets) == (entry.fate in (Fate.SAME, Fate.TRANSLATED)), entry.name
        assert not unknown_keys(entry.here) - {entry.name}, entry.name


ODD = ("odd", 3, -7, 0.37, True, False, [3, 4], {"a": 1})


def test_a_value_is_taken_with_its_effect_or_a_word_or_it_is_refused() -> None:
    """Values of every type, of which most mean nothing: what is accepted without a word says what is so."""
    plain = compose("danube_1_8b")
    for entry in TABLE.values():
        silent = 0
        for value in ODD if entry.fate is not Fate.SAME else ():
            try:
                outcome = entry.read(value, Settings(compose_copy(plain)))
            except Refused as error:
                assert "\n" not in str(error), entry.name
                assert not unknown_keys(str(error)) - {entry.name}, entry.name
                continue
            assert entry.fate is not Fate.REFUSED, entry.name
            silent += not outcome.put and not outcome.note
        assert silent <= 1, f"{entry.name}: of several values, one at most can say what is so"


def compose_copy(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: compose_copy(value) if isinstance(value, dict) else value for key, value in plain.items()}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("trainer.val_check_interval=1000", "trainer.val_every_n_tokens", 1000 * BATCH),
        ("trainer.limit_val_batches=50", "trainer.limit_val_tokens", 50 * BATCH),
        ("trainer.log_every_n_steps=10", "trainer.log_every_n_tokens", 10 * BATCH),
        ("trainer.max_steps=300000", "curriculum.stages.stage1.tokens", 300_000 * BATCH),
        ("trainer.max_epochs=2", "data.max_epochs", 2),
        ("trainer.gradient_clip_val=0.5", "model.optim.clip_grad", 0.5),
        ("trainer.accelerator=cuda", "trainer.accelerator", "gpu"),
        ("model.global_batch_size=64", "curriculum.stages.stage3.global_batch_tokens", 64 * 8192),
        ("model.rampup_batch_size=[72,72,1000000]", "model.rampup_batch_tokens", (147_456, 147_456, 2_048_000_000)),
        ("data.rampup_batch_size=[72,72,1000]", "model.rampup_batch_tokens", (147_456, 147_456, 2_048_000)),
        ("model.optim.name=fused_adam", "model.optim.name", "adamw"),
        ("model.optim.name=mcore_distributed_optim", "model.optim.name", "distributed_fused_adam"),
        ("model.optim.sched.warmup_steps=500", "model.optim.sched.warmup_tokens", 500 * BATCH),
        ("model.optim.sched.warmup_ratio=0.01", "model.optim.sched.warmup_tokens", 10_000_000_000),
        ("model.window_size=[1023,0]", "model.sliding_window", 1024),
        ("model.recompute_granularity=full", "model.activations_checkpoint_granularity", "full"),
        ("model.num_query_groups=null", "model.num_query_groups", 32),
        ("model.fp8=True", "model.fp8", "hybrid"),
        ("model.fp8=False", "model.fp8", None),
        ("model.fp8_e4m3=True", "model.fp8", "e4m3"),
        ("model.data.seq_length=4096", "model.encoder_seq_length", 4096),
        ("model.data.num_workers=2", "data.prefetch_factor", 4),
        ("model.data.reset_attention_mask=True", "data.reset_attention_mask", True),
        ("model.data.reset_position_ids=True", "data.reset_position_ids", True),
        ("model.data.eod_mask_loss=True", "data.eod_mask_loss", True),
        ("model.data.splits_string='980,20,0'", "data.validation_fraction", 0.02),
        ("exp_manager.explicit_log_dir=/results/mine", "run_dir", Path("/results/mine")),
        ("exp_manager.exp_dir=null", "exp_manager.exp_dir", "runs"),
        (
            "exp_manager.checkpoint_callback_params.every_n_train_steps=100",
            "exp_manager.checkpoint_callback_params.every_n_train_tokens",
            100 * BATCH,
        ),
        (
            "exp_manager.checkpoint_callback_params.save_top_k=5",
            "exp_manager.checkpoint_callback_params.save_last_n",
            5,
        ),
        ("log.ckpt.save_top_k=5", "exp_manager.checkpoint_callback_params.save_last_n", 5),
        ("restore_from_path=/runs/other", "model.restore_from_path", "/runs/other"),
        ("trainer.strategy.tensor_model_parallel_size=2", "model.tensor_model_parallel_size", 2),
        ("trainer.strategy.ddp.grad_reduce_in_fp32=false", "model.optim.grad_sync_dtype", "bf16"),
        ("data.micro_batch_size=4", "model.micro_batch_size", 4),
        ("optim.config.lr=1e-4", "model.optim.lr", 1e-4),
        ("optim.config.adam_beta2=0.98", "model.optim.betas", (0.9, 0.98)),
        ("optim.config.use_distributed_optimizer=true", "model.optim.name", "distributed_fused_adam"),
        ("optim.lr_scheduler.warmup_steps=500", "model.optim.sched.warmup_tokens", 500 * BATCH),
        ("model.config.num_layers=12", "model.num_layers", 12),
        ("log.log_dir=/results", "exp_manager.exp_dir", "/results"),
        ("log.ckpt.every_n_train_steps=2", "exp_manager.checkpoint_callback_params.every_n_train_tokens", 2 * BATCH),
    ],
)
def test_a_translation_has_its_effect_and_says_into_what(
    override: str, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    sign = ("", "+", "++")[len(override) % 3]
    assert value_of(load_config("danube_1_8b", [sign + override]), key) == value
    [line] = capsys.readouterr().err.splitlines()
    name = override.partition("=")[0]
    assert line.startswith(f"danube: {name}=")
    assert key in line or key == "run_dir"
    assert not unknown_keys(line.partition(": ")[2].partition(": ")[2])


@pytest.mark.parametrize("section", ["exp_manager.checkpoint_callback_params", "log.ckpt"])
def test_the_best_by_training_loss_are_nemos_keys(section: str) -> None:
    """Beside the newest, of which there are as many as before; with a clock the best are the newest."""
    best = [f"{section}.save_top_k=5", f"{section}.mode=min"]
    kept = load_config("danube_1_8b", [*best, f"{section}.monitor=reduced_train_loss"]).exp_manager
    params = kept.checkpoint_callback_params
    assert (params.monitor, params.save_top_k, params.save_last_n) == ("reduced_train_loss", 5, 2)
    kept = load_config("danube_1_8b", [best[0], f"{section}.mode=max", f"{section}.monitor=step"]).exp_manager
    params = kept.checkpoint_callback_params
    assert (params.monitor, params.save_top_k, params.save_last_n) == (None, None, 5)
    by_loss = f"{section}.monitor=reduced_train_loss"
    assert refusal(best[0], by_loss, f"{section}.mode=max").startswith(f"{section}.mode=max: ")
    assert "set exp_manager.checkpoint_callback_params.save_top_k" in refusal(by_loss)


@pytest.mark.parametrize(
    "override",
    [
        "exp_manager.resume_if_exists=True",
        "exp_manager.resume_ignore_no_checkpoint=True",
        "exp_manager.create_wandb_logger=False",
        "model.bias=false",
        "model.bias='False'",
        "model.hidden_dropout=0",
        "model.mcore_gpt=True",
        "model.megatron_amp_O2=True",
        "model.use_scaled_init_method=true",
        "model.rotary_percentage=1",
        "model.optim.sched.constant_steps=0",
        "model.data.data_impl=mmap",
        "model.data.index_mapping_dir=null",
        "model.max_position_embeddings=16384",
        "model.batch_p2p_comm=True",
        "exp_manager.checkpoint_callback_params.model_parallel_size=1",
        "exp_manager.wandb_logger_kwargs={}",
        "trainer.limit_train_batches=1.0",
        "resume.resume_if_exists=true",
        "hydra.run.dir=.",
        "hydra/job_logging=disabled",
        "~model.bias",
        "~model.bias=true",
        "~exp_manager.wandb_logger_kwargs",
    ],
)
def test_what_is_so_anyway_changes_nothing(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_config("danube_1_8b", [override]) == load_config("danube_1_8b")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("exp_manager.resume_if_exists=False", "exp_manager.name"),
        ("exp_manager.create_wandb_logger=True", "metrics.jsonl"),
        ("model.bias=True", "no bias"),
        ("model.hidden_dropout=0.1", "set it to 0.0"),
        ("model.data.data_prefix=[1.0,/data/text_document]", "data.dir"),
        ("model.data.data_prefix={train: [/data/a], validation: [/data/b]}", "data.dir"),
        ("model.data.splits_string='900,50,50'", "data.validation_fraction=0.0526"),
        ("model.max_position_embeddings=4096", "it is 16384"),
        ("model.tokenizer.library=megatron", "model.tokenizer.library=sentencepiece or huggingface"),
        ("model.restore_from_path=gpt.nemo", "danube convert from-hf"),
        ("model.optim.sched.max_steps=5", "trainer.max_steps=5"),
        ("model.rampup_batch_size=[72,72]", "[first, increment, samples]"),
        ("model.rampup_batch_size=72", "[first, increment, samples]"),
        ("model.rampup_batch_size=[72,0,1000000]", "whole number"),
        ("model.rampup_batch_size=[72,72,400000000]", "set model.rampup_batch_tokens, in tokens"),
        ("trainer.precision=16", "bf16-mixed"),
        ("trainer.max_time=00:03:50:00", "timeout --signal=TERM 13800"),
        ("trainer.max_steps=1.5", "whole number"),
        ("trainer.val_check_interval=0.25", "trainer.val_every_n_tokens"),
        ("trainer.limit_val_batches=0", "trainer.val_every_n_tokens"),
        ("trainer.limit_train_batches=1", "curriculum.stages.<stage>.tokens"),
        ("exp_manager.checkpoint_callback_params.monitor=val_loss", "save_last_n"),
        ("trainer.strategy.nothing=1", "model.tensor_model_parallel_size"),
        ("hydra.run.dir=/tmp/there", "exp_manager.exp_dir"),
        ("hydra.job_logging.root.level=INFO", "Hydra logs nothing"),
    ],
)
def test_another_value_is_refused_with_what_to_do(override: str, advice: str) -> None:
    message = refusal(override)
    assert message.startswith(re.split(r"[={]", override)[0])
    assert advice in message
    assert "did you mean" not in message


def test_steps_are_the_stages_steps() -> None:
    """A run of so many steps ends after so many, whichever stage that is in; later stages are left out."""
    whole = Curriculum.from_config(load_config("danube_rehearsal")).total_steps
    for steps in (1, whole // 2, whole - 1, whole, whole + 7):
        overrides = [f"trainer.max_steps={steps}", "model.optim.sched.warmup_tokens=1"]
        assert Curriculum.from_config(load_config("danube_rehearsal", overrides)).total_steps == steps
    warmed = load_config("danube_rehearsal", ["model.optim.sched.warmup_steps=7"])
    assert warmed.model.optim.sched.warmup_tokens == 7 * warmed.model.global_batch_tokens


def test_a_batch_that_is_not_constant_is_no_unit() -> None:
    other = "curriculum.stages.stage1.global_batch_tokens=589824"
    message = refusal("trainer.val_check_interval=10", other)
    assert "589,824 in stage1" in message and "trainer.val_every_n_tokens" in message
    of_stage = load_config("danube_1_8b", ["trainer.val_check_interval=10", other, "curriculum.stage=stage1"])
    assert of_stage.trainer.val_every_n_tokens == 5_898_240


def test_steps_of_a_batch_that_grows() -> None:
    """A run, and a warm-up, of so many steps end after so many; what would need steps of one size is refused."""
    ramp = "model.rampup_batch_size=[8,8,10000]"
    whole = Curriculum.from_config(load_config("danube_rehearsal", [ramp])).total_steps
    for steps in (2, whole // 2, whole + 7):
        # The ramp must not outlive the run.
        short = f"model.rampup_batch_tokens=[1024,1024,{max(1, min(1_280_000, 500 * steps))}]"
        config = load_config(
            "danube_rehearsal", [short, f"trainer.max_steps={steps}", "model.optim.sched.warmup_steps=1"]
        )
        assert Curriculum.from_config(config).total_steps == steps
        assert config.model.optim.sched.warmup_tokens == 1024
    warmed = load_config("danube_rehearsal", [ramp, "model.optim.sched.warmup_steps=300"])
    load_config("danube_rehearsal", [ramp, f"model.optim.sched.max_steps={whole}"])
    assert f"{whole:,} steps" in refusal(ramp, f"model.optim.sched.max_steps={whole - 1}", name="danube_rehearsal")
    stages = Curriculum.from_config(warmed).stages
    batches = [phase.global_batch_tokens for stage in stages for phase in stage.phases for _ in range(phase.steps)]
    assert warmed.model.optim.sched.warmup_tokens == sum(batches[:300])
    message = refusal("trainer.val_check_interval=10", ramp, name="danube_rehearsal")
    assert "model.rampup_batch_tokens=[1024,1024,1280000]" in message and "trainer.val_every_n_tokens" in message


def test_a_ramp_ends_at_the_batch_of_nemos_sequences() -> None:
    """Where lengths differ, the stages in the ramp have the model's batch and the others their own."""
    config = load_config("danube_1_8b", ["model.global_batch_size=576", "model.rampup_batch_size=[64,64,1000000]"])
    assert config.model.global_batch_tokens == 576 * 2048
    assert config.model.rampup_batch_tokens == (64 * 2048, 64 * 2048, 1_000_000 * 2048)
    stages = Curriculum.from_config(config).stages
    assert [stage.global_batch_size for stage in stages] == [576] * 4
    assert [phase.global_batch_size for phase in stages[0].phases] == list(range(64, 577, 64))


def test_one_thing_said_twice_in_two_ways_is_refused() -> None:
    message = refusal("trainer.val_check_interval=10", "trainer.val_every_n_tokens=5")
    assert message.startswith("trainer.val_check_interval=10: is trainer.val_every_n_tokens=11796480 here")
    assert "trainer.val_every_n_tokens=5 is given too" in message
    assert "data.seq_length=128" in refusal("data.seq_length=128", "model.data.seq_length=256")
    load_config("danube_1_8b", ["data.seq_length=1024", "model.data.seq_length=1024"])


def test_in_a_file_as_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(
        """
defaults: [danube_1_8b, _self_]
name: mine
trainer: {max_steps: 100000, max_epochs: -1, logger: False, enable_checkpointing: False, val_check_interval: 100}
exp_manager:
  explicit_log_dir: null
  resume_if_exists: True
  wandb_logger_kwargs: {project: null, name: null}
  checkpoint_callback_params:
    save_last: True
    model_parallel_size: ${multiply:${model.tensor_model_parallel_size}, ${model.pipeline_model_parallel_size}}
model:
  mcore_gpt: True
  encoder_seq_length: 2048
  max_position_embeddings: ${.encoder_seq_length}
  global_batch_size: 8
  bias: False
  hidden_dropout: 0.0
  cpu_offloading: False
  cpu_offloading_num_layers: ${sum:${.num_layers},-1}
  data: {seq_length: '${model.encoder_seq_length}', reset_position_ids: False}
  optim: {name: fused_adam, sched: {warmup_steps: 500, constant_steps: 0}}
hydra: {run: {dir: .}}
"""
    )
    config = load_config("mine", (), tmp_path)
    assert config.model.global_batch_tokens == 8 * 2048
    assert Curriculum.from_config(config).total_steps == 100_000
    assert config.model.optim.sched.warmup_tokens == 500 * 8 * 2048
    assert config.trainer.val_every_n_tokens == 100 * 8 * 2048
    assert "trainer.max_steps=100000: " in capsys.readouterr().err
    for line, said in (
        ("hydra: {run: {dir: /tmp/there}}", "hydra.run.dir"),
        ("model: {bias: True}", "model.bias=true"),
    ):
        (tmp_path / "other.yaml").write_text(f"defaults: [danube_1_8b, _self_]\n{line}\n")
        assert refusal(name="other", folder=tmp_path).startswith(said)


def test_a_config_without_nemos_keys_is_as_it_was() -> None:
    plain = compose("danube2")
    assert translate(plain, Config) == (plain, [])


NOT_NEAR = (
    "model.lora=1",
    "model.type=gpt",
    "model.foo.bar=1",
    "trainer.steps=4",
    "exp_manager.restart=true",
    "model.num=2",
    "data.size=3",
    "something=1",
)


@pytest.mark.parametrize("override", NOT_NEAR)
def test_what_is_near_to_nothing_is_not_guessed(override: str) -> None:
    message = refusal(override)
    assert "no such key" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("exp_manager.resume_if_exist=True", "exp_manager.resume_if_exists"),
        ("trainer.val_chek_interval=5", "trainer.val_check_interval"),
        ("model.sched.warmup_steps=10", "model.optim.sched.warmup_steps"),
        ("model.heads_num=2", "model.num_attention_heads"),
        ("model.layers=4", "model.num_layers"),
    ],
)
def test_a_misspelling_of_nemos_key_is_answered_with_it(override: str, meant: str) -> None:
    assert refusal(override).endswith(f"did you mean {meant}?")


def _devices(message: str) -> Iterator[list[str]]:
    key, numbers = re.findall(r"such as (trainer\.\w+)=([\d or]+),", message)[0]
    yield from ([f"{key}={number}"] for number in numbers.split(" or "))


@pytest.mark.parametrize("override", ["trainer.num_nodes=2", "trainer.num_nodes=4", "trainer.devices=5"])
def test_devices_that_do_not_divide_a_batch_are_named_with_some_that_do(override: str) -> None:
    message = refusal(override)
    assert message.startswith(f"{override}: ")
    for overrides in _devices(message):
        load_config("danube_1_8b", overrides)


def test_the_page_in_the_docs_is_the_table() -> None:
    assert (ROOT / "docs" / "nemo.md").read_text() == page(), "python -m custom_modules.config.nemo.page > docs/nemo.md"


def test_values_are_written_as_they_are_given() -> None:
    assert as_yaml([1.0, "/data/a"]) in refusal("model.data.data_prefix=[1.0,/data/a]")
