"""The fields of config.json are read in every published form, and refused by name where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.conversion import from_hf
from custom_modules.conversion.hf_config import check_config
from custom_modules.errors import UserError
from tests.support.trained import small_config

DANUBE = {
    "_name_or_path": "h2oai/h2o-danube-1.8b-base",
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 2560,
    "initializer_range": 0.02,
    "intermediate_size": 6912,
    "max_position_embeddings": 16384,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.36.1",
    "use_cache": True,
    "vocab_size": 32000,
}
"""As it was published: with the RoPE base that MistralConfig has by default."""
DANUBE2 = {
    **DANUBE,
    "_name_or_path": "h2oai/h2o-danube2-1.8b-base",
    "attention_dropout": 0.0,
    "max_position_embeddings": 8192,
    "pad_token_id": 0,
    "rope_theta": 10000,
    "sliding_window": None,
    "transformers_version": "4.38.2",
}
TO_DANUBE2 = ["model.sliding_window=null", "curriculum.stages.stage4.encoder_seq_length=8192"]


def write(folder: Path, content: object) -> Path:
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_the_published_models(tmp_path: Path) -> None:
    danube = load_config("danube_1_8b")
    check_config(write(tmp_path, DANUBE), danube)
    check_config(write(tmp_path, {**DANUBE, "rope_theta": 10000.0}), danube)
    check_config(write(tmp_path, DANUBE2), load_config("danube_1_8b", TO_DANUBE2))


def test_every_difference_is_named_with_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        check_config(write(tmp_path, DANUBE2), load_config("danube_1_8b"))
    message = str(raised.value)
    assert "sliding_window=null, but model.sliding_window=4096; max_position_embeddings=8192, but" in message
    assert message.endswith(f"add {' '.join(TO_DANUBE2)}")
    check_config(tmp_path, load_config("danube_1_8b", message.split(", add ")[1].split()))


@pytest.mark.parametrize(
    "form",
    [
        {"rope_theta": 5000.0, "rope_scaling": None},
        {"rope_theta": 5000},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}},
        {"rope_parameters": {"rope_theta": 5000.0}, "rope_theta": 5000.0, "attention_bias": False},
        {"rope_theta": 5000.0, "rope_scaling": {"type": "default"}, "architectures": None},
    ],
)
def test_older_and_newer_forms(folder: Path, form: dict[str, object], tmp_path: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    del raw["rope_theta"], raw["rope_parameters"]
    raw["torch_dtype"] = raw.pop("dtype")
    from_hf(write(folder, {**raw, **form}), tmp_path / "run", small_config())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_layers=2", r"num_hidden_layers=3, but model\.num_layers=2; .* add model\.num_layers=3$"),
        ("model.hidden_size=128", "hidden_size=64, but"),
        ("model.ffn_hidden_size=96", r"intermediate_size=80, but model\.ffn_hidden_size=96"),
        ("model.num_attention_heads=4", "num_attention_heads=8, but"),
        ("model.num_query_groups=4", r"num_key_value_heads=2, but model\.num_query_groups=4"),
        ("model.kv_channels=8", r"head_dim=12, but model\.kv_channels=8"),
        ("model.vocab_size=512", "vocab_size=500, but"),
        ("model.sliding_window=25", r"sliding_window=24, but model\.sliding_window=25"),
        ("model.sliding_window=null", r"sliding_window=24, but model\.sliding_window=null"),
        ("model.layernorm_epsilon=1e-5", r"rms_norm_eps=0\.0001, but model\.layernorm_epsilon=1e-05"),
        ("model.rotary_base=10000", r"rope_theta=5000\.0, but model\.rotary_base=10000"),
        (
            "curriculum.stages.stage4.encoder_seq_length=2048",
            r"max_position_embeddings=1024, but curriculum\.stages\.stage4\.encoder_seq_length=2048",
        ),
    ],
)
def test_a_field_that_differs(exported: Path, refused: Callable[..., None], override: str, message: str) -> None:
    refused(exported, message, override)


def test_a_longer_context_fits(exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from_hf(exported, tmp_path / "same", small_config())
    assert not capfd.readouterr().err
    from_hf(exported, tmp_path / "shorter", small_config("~curriculum.stages.stage4"))
    assert "max_position_embeddings=1024; the run's exports will have 512" in capfd.readouterr().err


def test_an_absent_head_dim_is_the_hidden_size_over_the_heads(folder: Path, refused: Callable[..., None]) -> None:
    raw = json.loads((folder / "config.json").read_text())
    del raw["head_dim"]
    refused(write(folder, raw), r"head_dim=8, but model\.kv_channels=12")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tie_word_embeddings": True}, "tie_word_embeddings=true cannot be converted; only false can"),
        ({"hidden_act": "gelu"}, 'hidden_act="gelu" cannot be converted; only "silu" can'),
        ({"attention_dropout": 0.1}, r"attention_dropout=0\.1 cannot be converted"),
        ({"attention_bias": True}, "attention_bias=true cannot be converted"),
        ({"mlp_bias": True}, "mlp_bias=true cannot be converted"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types=.* cannot be converted"),
        ({"layer_types": ["sliding_attention"] * 2 + ["full_attention"]}, "layer_types=.* cannot be converted"),
        ({"layer_types": ["sliding_attention"] * 3, "sliding_window": None}, "layer_types=.* cannot be converted"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config=.* cannot be converted"),
        ({"model_type": "qwen2"}, 'model_type="qwen2" cannot be converted; only "mistral" or "llama" can'),
        ({"model_type": "llama"}, "architectures=.* cannot be converted; only "),
        ({"architectures": ["MistralForSequenceClassification"]}, "architectures=.* cannot be converted; only "),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}},
            r'rope_parameters\.rope_type="linear" cannot be converted; only "default"',
        ),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r'rope_scaling\.rope_type="linear" cannot be converted'),
        ({"partial_rotary_factor": 0.5}, r"rope_parameters\.partial_rotary_factor=0\.5 cannot be converted"),
        ({"rope_theta": 10000}, r"rope_theta=10000, but rope_parameters\.rope_theta=5000\.0; make them equal"),
        ({"hidden_size": "wide"}, "transformers cannot read it"),
    ],
)
def test_another_kind_of_model(
    folder: Path, refused: Callable[..., None], change: dict[str, object], message: str
) -> None:
    refused(write(folder, {**json.loads((folder / "config.json").read_text()), **change}), message)


@pytest.mark.parametrize(("kind", "window"), [("sliding_attention", 24), ("full_attention", None)])
def test_layers_that_are_all_what_the_window_makes_them(
    folder: Path, tmp_path: Path, kind: str, window: int | None
) -> None:
    raw = json.loads((folder / "config.json").read_text())
    write(folder, {**raw, "sliding_window": window, "layer_types": [kind] * 3})
    from_hf(folder, tmp_path / "run", small_config(f"model.sliding_window={json.dumps(window)}"))


def test_a_llama_has_no_window(folder: Path, tmp_path: Path, refused: Callable[..., None]) -> None:
    raw = json.loads((folder / "config.json").read_text())
    del raw["sliding_window"]
    llama = {**raw, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    whole = ("model.sliding_window=null",)
    refused(
        write(folder, llama), r"sliding_window=null, but model\.sliding_window=24; .* add model\.sliding_window=null$"
    )
    for field, value in {
        "attention_bias": True,
        "mlp_bias": True,
        "sliding_window": 24,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "layer_types": ["full_attention", "full_attention", "sliding_attention"],
    }.items():
        refused(write(folder, {**llama, field: value}), rf"{field}\S* ?.*cannot be converted", *whole)
    from_hf(write(folder, {**llama, "pretraining_tp": 2}), tmp_path / "run", small_config(*whole))


def test_no_config(folder: Path, tmp_path: Path, refused: Callable[..., None]) -> None:
    path = folder / "config.json"
    for content in (b"", b"{", b"\x80\x02}q", b"nothing"):
        path.write_bytes(content)
        refused(folder, r"config\.json: not JSON")
    for content in (b"[]", b"{}"):
        path.write_bytes(content)
        refused(folder, r"config\.json: has no model_type")
    path.unlink()
    refused(folder, r"config\.json: No such file or directory; give the folder of a Hugging Face model")
    refused(tmp_path / "nowhere", r"config\.json: No such file or directory")
