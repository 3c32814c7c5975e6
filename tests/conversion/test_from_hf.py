"""A Hugging Face folder becomes a checkpoint that megatron-core loads, and comes back bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from filecmp import cmpfiles
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.validation import StrictHandling
from safetensors.torch import load_file, save_file
from transformers import MistralConfig, MistralForCausalLM

from custom_modules.conversion import from_hf, to_hf
from custom_modules.errors import UserError
from custom_modules.model.build import build_model
from custom_modules.platform import Platform
from custom_modules.tokenizer import load_tokenizer
from custom_modules.training import checkpoint_files
from tests.conversion.conftest import Trained, small_config


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """The Hugging Face folder, to change."""
    return shutil.copytree(exported, tmp_path / "hf")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_round_trip_is_bit_identical(trained: Trained, dtype: str, tmp_path: Path) -> None:
    to_hf(trained.checkpoint, tmp_path / "first", dtype=dtype)
    from_hf(tmp_path / "first", tmp_path / "run", trained.config)
    to_hf(tmp_path / "run", tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "second").iterdir())
    assert "model.safetensors" in names
    same, different, unreadable = cmpfiles(tmp_path / "first", tmp_path / "second", names, shallow=False)
    assert (same, different, unreadable) == (names, [], [])


@pytest.mark.parametrize("shards", [1, 2])
def test_megatron_core_loads_a_model_of_transformers(exported: Path, tmp_path: Path, shards: int) -> None:
    """Every key is there, none is left over, and the logits are transformers'."""
    torch.manual_seed(0)
    hf_config = MistralConfig.from_pretrained(exported)
    model = MistralForCausalLM(hf_config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "hf", max_shard_size="150KB" if shards > 1 else "1GB")
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) >= shards
    shutil.copyfile(exported / "tokenizer.model", tmp_path / "hf" / "tokenizer.model")
    tokens = torch.randint(500, (1, 80))
    config = small_config()
    checkpoint = from_hf(tmp_path / "hf", tmp_path / "run", config)
    with Platform.detect(config).running(config), torch.no_grad():
        gpt = build_model(config, initial_weights=False)
        loaded = dist_checkpointing.load(
            {"model": gpt.sharded_state_dict()}, str(checkpoint / "dist"), strict=StrictHandling.RAISE_ALL
        )
        gpt.load_state_dict(loaded["model"])
        logits = gpt(tokens, torch.arange(80)[None], None)
        assert not gpt.embedding.word_embeddings.weight[500:].any()
        assert not gpt.output_layer.weight[500:].any()
        expected = model(tokens).logits
    assert expected.abs().max() > 1
    torch.testing.assert_close(logits[..., :500], expected, rtol=0, atol=1e-4)


def test_the_checkpoint_is_whole(trained: Trained, exported: Path, tmp_path: Path) -> None:
    folder = from_hf(exported, tmp_path / "run", trained.config)
    checkpoint = checkpoint_files.resolve(tmp_path / "run")
    assert checkpoint.path == folder
    assert (checkpoint.consumed_tokens, checkpoint.step) == (0, 0)
    assert checkpoint.config() == trained.config
    tokenizer = load_tokenizer("sentencepiece", checkpoint.tokenizer)
    assert tokenizer.sha256 == checkpoint.tokenizer_sha256
    with pytest.raises(UserError, match="run: already has a checkpoint"):
        from_hf(exported, tmp_path / "run", trained.config)


def test_a_write_that_fails_leaves_nothing(
    trained: Trained, exported: Path, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(50_000), pytest.raises(UserError, match=r"tokens_0+: cannot be written \(File too large\)"):
        from_hf(exported, tmp_path / "run", trained.config)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or path.is_file()]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_layers=2", r"num_hidden_layers=3, but model\.num_layers=2"),
        ("model.hidden_size=128", "hidden_size=64, but"),
        ("model.ffn_hidden_size=96", r"intermediate_size=80, but model\.ffn_hidden_size=96"),
        ("model.num_attention_heads=4", "num_attention_heads=8, but"),
        ("model.num_query_groups=4", r"num_key_value_heads=2, but model\.num_query_groups=4"),
        ("model.kv_channels=8", r"head_dim=12, but model\.kv_channels=8"),
        ("model.vocab_size=512", "vocab_size=500, but"),
        ("model.sliding_window=25", r"sliding_window=24, but model\.sliding_window=25"),
        ("model.sliding_window=null", r"sliding_window=24, but model\.sliding_window=None"),
        ("model.layernorm_epsilon=1e-5", r"rms_norm_eps=0\.0001, but model\.layernorm_epsilon=1e-05"),
        ("model.rotary_base=10000", r"rope_theta=5000\.0, but model\.rotary_base=10000"),
    ],
)
def test_a_field_that_differs_is_named(exported: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_hf(exported, tmp_path / "run", small_config(override))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tie_word_embeddings": True}, "tie_word_embeddings=True cannot be converted"),
        ({"hidden_act": "gelu"}, "hidden_act=gelu cannot be converted"),
        ({"model_type": "llama"}, "model_type=llama cannot be converted; only mistral"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}}, "rope_type=linear"),
        ({"hidden_size": "wide"}, "transformers cannot read it"),
    ],
)
def test_another_kind_of_model(folder: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=message):
        from_hf(folder, tmp_path / "run", small_config())


def _without_head(weights: dict[str, torch.Tensor]) -> None:
    del weights["lm_head.weight"]


def _with_bias(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(96)


def _narrow(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = torch.zeros(63)


def _mixed(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = weights["model.norm.weight"].half()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_head, r"tensor lm_head\.weight is missing"),
        (_with_bias, r"q_proj\.bias has no place in the config's model"),
        (_narrow, r"model\.norm\.weight has shape \(63,\), but the config makes it \(64,\)"),
        (_mixed, "weights of dtype"),
    ],
)
def test_tensors_that_do_not_fit(
    folder: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=message):
        from_hf(folder, tmp_path / "run", small_config())
    assert not (tmp_path / "run").exists()


def test_an_incomplete_folder(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="not the config of a Hugging Face model"):
        from_hf(tmp_path / "nowhere", run, small_config())
    with pytest.raises(UserError, match=r"no tokenizer\.json|nothing says") as raised:
        (folder / "tokenizer_config.json").unlink()
        (folder / "generation_config.json").unlink()
        from_hf(folder, run, small_config("model.tokenizer.library=huggingface"))
    assert "tokenizer_config.json" in str(raised.value)
    (folder / "tokenizer.model").unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.model, .*; set model\.tokenizer\.library=huggingface"):
        from_hf(folder, run, small_config())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"no readable model\.safetensors"):
        from_hf(folder, run, small_config())
    weights.unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head.weight": 5}}')
    with pytest.raises(UserError, match="is missing; give a MistralForCausalLM"):
        from_hf(folder, run, small_config())
    assert not run.exists()
