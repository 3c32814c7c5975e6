"""A checkpoint becomes a `MistralForCausalLM` that transformers loads: the same logits, the right files."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MistralConfig

from custom_modules.conversion import to_hf
from custom_modules.errors import UserError
from custom_modules.made import NOTE
from custom_modules.run_folder import checkpoint_files
from tests.support.trained import LENGTHS, WINDOW, Trained


@pytest.mark.parametrize("length", LENGTHS)
def test_logits_below_at_and_beyond_the_window(trained: Trained, exported: Path, length: int) -> None:
    model = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    with torch.no_grad():
        logits = model(trained.samples[length]).logits
    assert trained.logits[length].abs().max() > 1
    torch.testing.assert_close(logits, trained.logits[length], rtol=0, atol=1e-5)


def test_config_files(exported: Path) -> None:
    config = MistralConfig.from_pretrained(exported)
    assert config.architectures == ["MistralForCausalLM"]
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (500, 64, 80)
    assert config.num_hidden_layers == 3
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (8, 2, 12)
    assert (config.sliding_window, config.max_position_embeddings, config.rms_norm_eps) == (WINDOW, 1024, 1e-4)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 5000}
    assert (config.eos_token_id, config.tie_word_embeddings, config.dtype) == (2, False, torch.float32)
    older = json.loads((exported / "config.json").read_text())
    assert older["rope_theta"] == 5000
    assert json.loads((exported / "generation_config.json").read_text())["eos_token_id"] == 2


def test_padded_rows_are_left_out(exported: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    assert weights["model.embed_tokens.weight"].shape == weights["lm_head.weight"].shape == (500, 64)
    assert len(weights) == 3 * 9 + 3


def test_without_window(trained: Trained, copy: Path, tmp_path: Path) -> None:
    metadata = json.loads((copy / "metadata.json").read_text())
    metadata["config"]["model"]["sliding_window"] = None
    (copy / "metadata.json").write_text(json.dumps(metadata))
    to_hf(copy, tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["sliding_window"] is None


def test_several_files(trained: Trained, exported: Path, tmp_path: Path) -> None:
    to_hf(trained.checkpoint, tmp_path / "model", shard_bytes=100_000)
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(files) > 3
    assert {path.name for path in files} == set(index["weight_map"].values())
    whole = load_file(exported / "model.safetensors")
    for path in files:
        part = load_file(path)
        assert sum(tensor.nbytes for tensor in part.values()) <= max(100_000, *(t.nbytes for t in part.values()))
        for name, tensor in part.items():
            assert index["weight_map"][name] == path.name
            assert torch.equal(tensor, whole.pop(name))
    assert not whole
    assert index["metadata"]["total_size"] == sum(
        tensor.nbytes for path in files for tensor in load_file(path).values()
    )
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_dtype(trained: Trained, exported: Path, tmp_path: Path) -> None:
    to_hf(trained.checkpoint, tmp_path / "bf16", dtype="bf16")
    whole, rounded = load_file(exported / "model.safetensors"), load_file(tmp_path / "bf16" / "model.safetensors")
    assert all(torch.equal(rounded[name], tensor.bfloat16()) for name, tensor in whole.items())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "bf16", dtype="auto").dtype == torch.bfloat16


def test_an_output_that_is_there(trained: Trained, tmp_path: Path) -> None:
    output = tmp_path / "model"
    to_hf(trained.checkpoint, output)
    (output / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="model: already there"):
        to_hf(trained.checkpoint, output)
    with pytest.raises(UserError, match=r"model: not only an earlier export: it holds .*/notes\.txt"):
        to_hf(trained.checkpoint, output, overwrite=True)
    (output / "notes.txt").unlink()
    to_hf(trained.checkpoint, output, dtype="bf16", overwrite=True)
    assert json.loads((output / "config.json").read_text())["dtype"] == "bfloat16"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (output / "config.json").write_text("mine")
    with pytest.raises(UserError, match=r"not only an earlier export: it holds .*/config\.json"):
        to_hf(trained.checkpoint, output, overwrite=True)
    (output / NOTE).unlink()
    with pytest.raises(UserError, match="not an earlier export"):
        to_hf(trained.checkpoint, output, overwrite=True)
    assert (output / "config.json").read_text() == "mine"
    with pytest.raises(UserError, match="not an earlier export"):
        to_hf(trained.checkpoint, output / "config.json", overwrite=True)


def test_an_output_that_cannot_be_written(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"model: cannot be written \(Not a directory\)"):
        to_hf(trained.checkpoint, tmp_path / "file" / "model")


@pytest.mark.parametrize("size", [0, 50_000])
def test_a_write_that_fails_leaves_nothing(
    trained: Trained, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], size: int
) -> None:
    to_hf(trained.checkpoint, tmp_path / "model", dtype="bf16")
    with (
        full_disk(size),
        pytest.raises(UserError, match=r"model: cannot be written \(File too large\)"),
    ):
        to_hf(trained.checkpoint, tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_missing_and_damaged_sources(trained: Trained, copy: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "model"
    with pytest.raises(UserError, match="no such folder"):
        to_hf(tmp_path / "nowhere", output)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="no whole checkpoint"):
        to_hf(tmp_path / "run", output)
    data = next(copy.glob("dist/*.distcp"))
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"damaged: dist/{data.name} has \d+ bytes"):
        to_hf(copy, output)
    assert not output.parent.exists()


def test_contents_that_changed(copy: Path, tmp_path: Path) -> None:
    """The size is right, and the weights are numbers."""
    data = next(copy.glob("dist/*.distcp"))
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match=rf"damaged: the contents of dist/{data.name} changed"):
        to_hf(copy, tmp_path / "out" / "model")
    assert not (tmp_path / "out").exists()


def test_an_older_checkpoint_is_not_taken_unasked(trained: Trained, tmp_path: Path) -> None:
    older = tmp_path / "run" / "checkpoints" / trained.checkpoint.name
    shutil.copytree(trained.checkpoint, older)
    newer = older.with_name(checkpoint_files.folder_name(9000))
    shutil.copytree(older, newer)
    next(newer.glob("dist/*.distcp")).unlink()
    with pytest.raises(UserError, match=rf"{newer.name}: damaged: .* is missing; .*{older.name} before it is whole"):
        to_hf(tmp_path / "run", tmp_path / "model")
    to_hf(older, tmp_path / "model")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_layers", 4, r"linear_qkv\.layer_norm_weight has shape \(3, 64\), but .* makes it \(4, 64\)"),
        ("ffn_hidden_size", 88, r"linear_fc1\.weight has shape \(3, 160, 64\), but .* makes it \(3, 176, 64\)"),
        ("vocab_size", 600, r"word_embeddings\.weight has shape \(528, 64\), but .* makes it \(600, 64\)"),
        ("vocab_size", 400, "500 tokens, but the checkpoint's model.vocab_size is 400"),
    ],
)
def test_a_config_of_another_model(copy: Path, tmp_path: Path, key: str, value: int, message: str) -> None:
    metadata = json.loads((copy / "metadata.json").read_text())
    metadata["config"]["model"][key] = value
    (copy / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=message):
        to_hf(copy, tmp_path / "model")


def test_a_missing_tensor(copy: Path, publish_again: Callable[[Path], None], tmp_path: Path) -> None:
    index = copy / "dist" / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    del metadata.state_dict_metadata["output_layer.weight"]
    index.write_bytes(pickle.dumps(metadata))
    publish_again(copy)
    with pytest.raises(UserError, match=r"dist: output_layer\.weight is missing"):
        to_hf(copy, tmp_path / "model")


def test_an_extra_tensor(copy: Path, publish_again: Callable[[Path], None], tmp_path: Path) -> None:
    index = copy / "dist" / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    stored = metadata.state_dict_metadata
    stored["decoder.layers.mlp.linear_fc2.bias"] = stored["decoder.layers.mlp.linear_fc2.weight"]
    index.write_bytes(pickle.dumps(metadata))
    publish_again(copy)
    with pytest.raises(UserError, match=r"dist: decoder\.layers\.mlp\.linear_fc2\.bias has no place in the model"):
        to_hf(copy, tmp_path / "model")


def test_a_missing_part_of_a_tensor(copy: Path, publish_again: Callable[[Path], None], tmp_path: Path) -> None:
    index = copy / "dist" / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    metadata.state_dict_metadata["decoder.layers.mlp.linear_fc2.weight"].chunks.pop()
    index.write_bytes(pickle.dumps(metadata))
    publish_again(copy)
    with pytest.raises(UserError, match=r"parts of decoder\.layers\.mlp\.linear_fc2\.weight are missing"):
        to_hf(copy, tmp_path / "model")
    assert not [path for path in tmp_path.iterdir() if path != copy]


def test_contents_that_are_no_tensors(copy: Path, publish_again: Callable[[Path], None], tmp_path: Path) -> None:
    for data in copy.glob("dist/*.distcp"):
        data.write_bytes(bytes(data.stat().st_size))
    publish_again(copy)
    with pytest.raises(UserError, match=r"embedding\.word_embeddings\.weight cannot be read"):
        to_hf(copy, tmp_path / "model")
    (copy / "dist" / ".metadata").write_bytes(b"nothing")
    publish_again(copy)
    with pytest.raises(UserError, match="dist: not a distributed checkpoint"):
        to_hf(copy, tmp_path / "model")
