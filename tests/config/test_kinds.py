"""A kind of run made of some of the parts: it is asked for what they need, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import load_config, validate
from custom_modules.config.marks import known_keys
from custom_modules.config.model_parts import ArchitectureConfig, DividedModelConfig, PrecisionConfig, TokenizerConfig
from custom_modules.config.schema import Config, DevicesConfig, PreparedDataConfig, RunConfig
from custom_modules.errors import UserError


class ModelToEvaluate(ArchitectureConfig):
    tokenizer: TokenizerConfig


class Evaluation(RunConfig):
    model: ModelToEvaluate


YAML = """
name: ${.model.architecture}_evaluation
trainer: {accelerator: cpu, devices: 1, num_nodes: 1, precision: bf16, cpu_threads: null, peak_tflops: null}
model:
  architecture: danube
  position_embedding_type: null
  normalization: null
  activation: null
  share_embeddings_and_output_weights: null
  num_layers: 2
  hidden_size: 64
  ffn_hidden_size: 128
  num_attention_heads: 4
  num_query_groups: 2
  kv_channels: null
  vocab_size: 500
  make_vocab_size_divisible_by: 128
  layernorm_epsilon: 1e-5
  rotary_base: 10000
  sliding_window: null
  init_method_std: 0.02
  tokenizer: {library: huggingface, model: tokenizer.json}
"""


def evaluation(folder: Path, *overrides: str) -> Evaluation:
    (folder / "evaluation.yaml").write_text(YAML)
    return load_config("evaluation", overrides, folder, kind=Evaluation)


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        evaluation(folder, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_needs_no_curriculum_optimizer_or_data(tmp_path: Path) -> None:
    config = evaluation(tmp_path, "model.num_layers=3")
    assert (config.name, config.trainer.precision, config.trainer.world_size) == ("danube_evaluation", "bf16-mixed", 1)
    assert (config.model.num_layers, config.model.head_dim, config.model.padded_vocab_size) == (3, 16, 512)
    assert config.model.activation == "swiglu"
    assert [weight.shape for weight in config.model.weights]
    assert not any(
        key.startswith(("curriculum", "data", "model.optim", "exp_manager")) for key in known_keys(Evaluation)
    )
    assert validate(config.model_dump(mode="json"), kind=Evaluation) == config


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("trainer.devicez=8", "did you mean trainer.devices?"),
        ("model.num_layer=2", "did you mean model.num_layers?"),
        ("model.bias=false", "no such key; "),
        ("seed=1", "there are: name, trainer.accelerator"),
        ("trainer.log_every_n_tokens=5", "no such key; "),
        ("model.global_batch_size=576", "no such key; "),
        ("model.optim.lr=1e-3", "no such key; "),
        ("curriculum.stage=stage1", "no such key; "),
    ],
)
def test_an_unknown_key_is_answered_with_its_own_keys(tmp_path: Path, override: str, advice: str) -> None:
    message = refusal(tmp_path, override)
    assert advice in message
    keys = set(known_keys(Evaluation))
    foreign = set(known_keys(Config)) - keys - {override.partition("=")[0]}
    assert not any(key in message.partition("no such key")[2] for key in foreign if "." in key)


def test_nemos_keys_are_taken_over_where_it_has_a_key_for_them(tmp_path: Path) -> None:
    assert evaluation(tmp_path, "model.window_size=48", "trainer.gpus=2").model.sliding_window == 48


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.devices=0", "trainer.devices=0: input should be greater than 0"),
        ("~model.vocab_size", "model.vocab_size: not set"),
        ("model.num_query_groups=3", "model.num_query_groups=3: does not divide model.num_attention_heads=4"),
        ("model.hidden_size=68", "model.hidden_size=68: not a multiple of 2 x model.num_attention_heads=4"),
        ("model.activation=gelu", "model.activation=gelu: model.architecture=danube has swiglu only"),
    ],
)
def test_the_checks_of_its_parts_run(tmp_path: Path, override: str, message: str) -> None:
    assert refusal(tmp_path, override).startswith(message)


class DividedModel(PrecisionConfig, DividedModelConfig):
    """A model with parallel sizes and a precision, but without an optimizer."""


class DividedEvaluation(RunConfig):
    model: DividedModel
    data: PreparedDataConfig


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "tensor_model_parallel_size", 3, "model.tensor_model_parallel_size=3: does not divide"),
        ("trainer", "devices", 3, "trainer.devices=3: devices x num_nodes = 3 is not a multiple of"),
        ("trainer", "precision", "32-true", "model.fp8=hybrid: needs trainer.precision=bf16-mixed"),
        ("model", "ffn_hidden_size", 6904, "model.ffn_hidden_size=6904: makes a matrix of 3452"),
        ("model", "seed", 1, "model.seed=1: no such key"),
        ("data", "steps", {}, "data.steps={}: no such key"),
    ],
)
def test_more_parts_bring_their_checks(section: str, key: str, value: object, message: str) -> None:
    """Parallel sizes and FP8 shapes are held together where there are no optimizer and no stages, too."""
    recipe = load_config("danube_1_8b", ["model.tensor_model_parallel_size=2"]).model_dump(mode="json")
    plain: dict[str, Any] = {
        "name": "divided",
        "trainer": {name: recipe["trainer"][name] for name in DevicesConfig.model_fields},
        "model": {name: recipe["model"][name] for name in DividedModel.model_fields},
        "data": {name: recipe["data"][name] for name in PreparedDataConfig.model_fields},
    }
    assert validate(plain, kind=DividedEvaluation).model.padded_vocab_size == 32_000
    with pytest.raises(UserError) as caught:
        validate({**plain, section: {**plain[section], key: value}}, kind=DividedEvaluation)
    assert str(caught.value).startswith(message)


def test_pre_training_has_every_check() -> None:
    """Those that only other kinds have are about what pre-training has no key for."""
    from custom_modules.config.checks import CHECKS
    from custom_modules.config.kinds import KINDS
    from custom_modules.config.marks import parts_of

    parts = {name: set(parts_of(kind)) for name, kind in KINDS.items()}
    of_others = {check.__name__ for check, needs in CHECKS if not parts["pretrain"].issuperset(needs)}
    assert of_others == {"check_warmup_epochs", "check_chat_sources"}
    assert all(any(parts[name].issuperset(needs) for name in parts) for _, needs in CHECKS)
