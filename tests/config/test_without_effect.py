"""No key is accepted and ignored: another value changes the plan, what is built, or the run, or the key is named."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import base_values, load_config
from custom_modules.config.schema import Config
from custom_modules.config.without_effect import only_prepared_with, without_effect, without_effect_in_preparing
from custom_modules.errors import UserError
from custom_modules.plan.plan import build_plan
from custom_modules.plan.render import as_json
from custom_modules.text import flatten
from tests.support.commands import environment
from tests.support.tiny import TINY, prepare

RUN_READS = (
    *("trainer.accelerator", "trainer.devices", "trainer.cpu_threads", "trainer.dry_run", "trainer.peak_tflops"),
    *("trainer.log_every_n_tokens", "trainer.val_every_n_tokens", "trainer.limit_val_tokens"),
    *("exp_manager.exp_dir", "exp_manager.name", "exp_manager.create_tensorboard_logger"),
    *("exp_manager.checkpoint_callback_params.every_n_train_tokens", "exp_manager.loss_spike"),
    *("objective", "model.restore_from_path", "model.seed", "model.init_method_std", "model.rotary_base"),
    *("model.make_vocab_size_divisible_by", "model.transformer_engine"),
    *("model.tokenizer.library", "model.tokenizer.model"),
    *(f"model.optim.{key}" for key in ("lr", "weight_decay", "betas", "eps", "clip_grad", "overlap_grad_sync")),
    *("data.dir", "data.loader", "data.prefetch_factor", "model.gc_interval"),
    *("data.reset_attention_mask", "data.reset_position_ids", "data.eod_mask_loss"),
)
"""Keys that neither the plan shows nor the model's config has, and that a run reads: `test_a_run_reads_them`."""

ONE_ANSWER = (
    *("model.architecture", "model.position_embedding_type", "model.normalization", "model.activation"),
    *("model.share_embeddings_and_output_weights", "model.optim.sched.name"),
)
"""Keys of which danube has one value: every other is refused."""

CHECKPOINTS = "exp_manager.checkpoint_callback_params"
FP8 = ["model.fp8=hybrid", "trainer.devices=1"]
FULL = ["model.activations_checkpoint_granularity=full"]
OTHER: dict[str, tuple[str, list[str]]] = {
    "name": ("other", []),
    "objective": ("next_token", []),
    "trainer.accelerator": ("cpu", []),
    "trainer.devices": ("1", []),
    "trainer.precision": ("bf16-mixed", []),
    "trainer.cpu_threads": ("2", []),
    "trainer.dry_run": ("true", []),
    "trainer.evaluate": ("{tasks: [piqa], every_n_tokens: 100000, limit: 5}", []),
    "trainer.peak_tflops": ("5", []),
    "exp_manager.exp_dir": ("elsewhere", []),
    "exp_manager.name": ("other", []),
    "exp_manager.checkpoint_callback_params.keep_every_n_tokens": ("1000000", []),
    "exp_manager.checkpoint_callback_params.monitor": ("reduced_train_loss", [f"{CHECKPOINTS}.save_top_k=2"]),
    "exp_manager.checkpoint_callback_params.save_top_k": (
        "3",
        [f"{CHECKPOINTS}.monitor=reduced_train_loss", f"{CHECKPOINTS}.save_top_k=2"],
    ),
    "reported": ("{tokens_per_second: 5, gpus: 1, gpu: H100 SXM, section: '1', recipe: null}", []),
    "curriculum.stage": ("stage1", []),
    "distillation": ("{every_n_batches: 4}", []),
    "curriculum.stages": ("{only: {tokens: 100000, encoder_seq_length: 128}}", []),
    "model.restore_from_path": ("runs/other", []),
    "model.kv_channels": ("8", []),
    "model.sliding_window": ("77", []),
    "model.encoder_seq_length": ("256", []),
    "model.micro_batch_tokens": ("1024", ["model.micro_batch_size=null"]),
    "model.micro_batch_size": ("1", []),
    "model.num_layers": ("2", []),
    "model.hidden_size": ("256", []),
    "model.ffn_hidden_size": ("512", []),
    "model.num_attention_heads": ("4", ["model.kv_channels=32"]),
    "model.num_query_groups": ("4", []),
    "model.vocab_size": ("4000", []),
    "model.global_batch_tokens": ("16384", []),
    "model.rampup_batch_tokens": ("[2048,2048,50000]", []),
    "model.virtual_pipeline_model_parallel_size": ("2", ["model.num_layers=4", "model.pipeline_model_parallel_size=2"]),
    "model.pipeline_model_parallel_size": ("2", ["model.num_layers=4"]),
    "model.sequence_parallel": ("true", ["model.tensor_model_parallel_size=2"]),
    "model.cp_comm_type": ("a2a", []),
    "model.activations_checkpoint_granularity": ("full", []),
    "model.activations_checkpoint_method": ("block", [*FULL, "model.activations_checkpoint_num_layers=1"]),
    "model.activations_checkpoint_num_layers": ("3", FULL),
    "model.recompute_modules": ("[core_attn]", []),
    "model.cross_entropy_chunk_size": ("16", []),
    "model.transformer_engine": ("false", []),
    "model.fp8": ("hybrid", ["trainer.precision=bf16-mixed"]),
    "model.fp8_recipe": ("tensorwise", []),
    "model.fp8_margin": ("1", []),
    "model.fp8_amax_history_len": ("16", []),
    "model.fp8_amax_compute_algo": ("most_recent", []),
    "model.tokenizer.library": ("huggingface", []),
    "model.tokenizer.model": ("other.model", []),
    "model.optim.name": ("distributed_fused_adam", []),
    "model.optim.lr": ("3e-3", []),
    "model.optim.betas": ("[0.8,0.9]", []),
    "model.optim.grad_sync_dtype": ("bf16", ["trainer.precision=bf16-mixed"]),
    "model.optim.sched.warmup_tokens": ("40960", []),
    "model.optim.sched.min_lr": ("1e-6", []),
    "data.dir": ("elsewhere", []),
    "data.loader": ("dali", []),
    "data.input": ("text.jsonl", []),
    "data.sources": ("{web: a.jsonl}", ["data.input=null"]),
    "data.text_key": ("body", []),
    "data.url_key": ("address", []),
    "data.on_error": ("raise", []),
    "data.on_damaged_file": ("skip", []),
    "data.workers": ("2", []),
    "data.executor": ("slurm", []),
    "data.slurm.partition": ("long", []),
    "data.slurm.time": ("'1:00:00'", []),
    "data.slurm.sbatch_args": ("{account: mine}", []),
    "data.steps": ("{exact: {}}", []),
}
"""Another value than ``base.yaml`` has, and what it needs. Numbers are doubled and switches turned, where none is
given."""


def keys_of_base() -> list[str]:
    """The keys of base.yaml; one that holds a mapping, and the steps, once."""
    base = base_values("mine")
    keys = [key for key, _ in flatten({**base, "data": {key: v for key, v in base["data"].items() if key != "steps"}})]
    return [*keys, "data.steps", "data.sources", "data.slurm.sbatch_args"]


def with_another(key: str) -> tuple[str, list[str]]:
    if key in OTHER:
        return OTHER[key]
    value: Any = dict(flatten(base_values("mine")))[key]
    return (str(not value).lower() if isinstance(value, bool) else str(2 * value)), []


def built(config: Config) -> tuple[object, ...]:
    """The plan, and megatron-core's config of the model."""
    from custom_modules.model.transformer_config import transformer_config

    return as_json(build_plan(config)), dataclasses.asdict(transformer_config(config))


def named(config: Config) -> str:
    return "\n".join([*without_effect(config), *only_prepared_with(config)])


@pytest.fixture(scope="module", autouse=True)
def _megatron() -> None:
    from custom_modules.platform.megatron import import_megatron

    import_megatron("cpu")


@pytest.mark.slow
def test_another_value_of_every_key_changes_something_or_the_key_is_named() -> None:
    accepted_and_ignored = []
    before: dict[tuple[str, ...], tuple[object, ...]] = {}
    for key in keys_of_base():
        if key in (*RUN_READS, *ONE_ANSWER):
            continue
        value, needs = with_another(key)
        config = load_config("danube_rehearsal", [*needs, f"{key}={value}"])
        if key in named(config):
            continue
        if tuple(needs) not in before:
            before[tuple(needs)] = built(load_config("danube_rehearsal", needs))
        if built(config) == before[tuple(needs)]:
            accepted_and_ignored.append(f"{key}={value}")
    assert accepted_and_ignored == []


@pytest.mark.parametrize("key", ONE_ANSWER)
def test_what_danube_has_one_of_cannot_be_another(key: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("danube_rehearsal", [f"{key}=true" if key.endswith("weights") else f"{key}=other"])
    assert str(caught.value).startswith(key)


@pytest.mark.slow
def test_a_run_reads_them(tmp_path: Path) -> None:
    data = prepare(tmp_path, 400, TINY)
    stages = [f"curriculum.stages.stage{number}.tokens=1024" for number in (1, 2)]
    overrides = [*TINY, *stages, "trainer.devices=1", f"data.dir={data}", f"exp_manager.exp_dir={tmp_path / 'runs'}"]
    words = [sys.executable, "-m", "tests.support.reads", str(tmp_path / "reads"), *overrides]
    subprocess.run(words, env=environment(), check=True, timeout=300)
    assert set(RUN_READS) - set(json.loads((tmp_path / "reads").read_text())) == set()


@pytest.mark.parametrize(
    ("idle", "active"),
    [
        (["model.fp8=null", "model.fp8_margin=2"], ["model.fp8_margin=2"]),
        (["model.fp8=null", "model.fp8_recipe=tensorwise"], ["model.fp8_recipe=tensorwise"]),
        (["model.fp8=null", "model.fp8_amax_history_len=16"], ["model.fp8_amax_history_len=16"]),
        (
            ["model.fp8=null", "model.num_layers_at_end_in_bf16=2"],
            ["model.fp8_recipe=tensorwise", "model.first_last_layers_bf16=true", "model.num_layers_at_end_in_bf16=2"],
        ),
        (["model.cp_comm_type=a2a"], ["model.context_parallel_size=2", "model.cp_comm_type=a2a"]),
        (
            ["model.overlap_p2p_comm=false"],
            [
                "trainer.devices=4",
                "model.pipeline_model_parallel_size=4",
                "model.virtual_pipeline_model_parallel_size=2",
                "model.overlap_p2p_comm=false",
            ],
        ),
        (
            ["model.recompute_modules=[core_attn]"],
            ["model.activations_checkpoint_granularity=selective", "model.recompute_modules=[core_attn]"],
        ),
        (
            ["model.optim.overlap_param_sync=false"],
            ["model.optim.name=distributed_fused_adam", "model.optim.overlap_param_sync=false"],
        ),
        (["trainer.devices=1", "model.optim.overlap_grad_sync=false"], ["model.optim.overlap_grad_sync=false"]),
        (
            ["data.reset_attention_mask=true", "data.reset_position_ids=true"],
            ["data.reset_position_ids=true"],
        ),
        (["model.restore_from_path=runs/a", "model.init_method_std=0.03"], ["model.init_method_std=0.03"]),
        (
            ["distillation={}", "distillation.minimum_over=token"],
            ["distillation={teachers: {one: {}}}", "distillation.minimum_over=token"],
        ),
        (
            ["distillation={teachers: {one: {targets: text}}}", "distillation.top_k=8"],
            ["distillation={teachers: {one: {targets: top_k}}}", "distillation.top_k=8"],
        ),
        (
            ["distillation={teachers: {one: {targets: top_k}}}", "distillation.prefix_tokens=64"],
            ["distillation={teachers: {one: {targets: text}}}", "distillation.prefix_tokens=64"],
        ),
    ],
)
def test_a_key_that_needs_another_is_named_without_it(idle: list[str], active: list[str]) -> None:
    [line] = without_effect(load_config("danube_1_8b", idle))
    assert line.startswith(f"{idle[-1]}: without effect in this run: ")
    assert list(without_effect(load_config("danube_1_8b", active))) == []


def test_layers_that_would_not_be_kept_out_of_fp8_are_refused() -> None:
    with pytest.raises(UserError, match=r"^model\.num_layers_at_start_in_bf16=3: model\.first_last_layers_bf16=false"):
        load_config("danube_1_8b", ["model.num_layers_at_start_in_bf16=3"])


@pytest.mark.parametrize("recipe", ["danube_1_8b", "danube_500m", "danube_rehearsal"])
def test_recipes_have_no_key_without_effect(recipe: str) -> None:
    assert list(without_effect(load_config(recipe))) == []


def test_what_only_preparing_reads_is_one_line() -> None:
    [line] = only_prepared_with(load_config("danube_1_8b", ["data.input=a.jsonl", "data.steps.exact={}"]))
    assert line.startswith("data.input, data.steps.exact: without effect in this run")
    assert list(only_prepared_with(load_config("danube_1_8b"))) == []


def test_what_preparing_does_not_read_is_named() -> None:
    slurm = ["data.slurm.partition=long", "data.slurm.sbatch_args={account: mine}"]
    assert len(list(without_effect_in_preparing(load_config("danube_1_8b", slurm)))) == 2
    assert list(without_effect_in_preparing(load_config("danube_1_8b", [*slurm, "data.executor=slurm"]))) == []
    both = ["data.train_tokenizer=true", "model.tokenizer.model=a.model"]
    [line] = without_effect_in_preparing(load_config("danube_1_8b", both))
    assert line.startswith("data.train_tokenizer=true: without effect: model.tokenizer.model=a.model")
