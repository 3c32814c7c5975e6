"""A Hugging Face folder whose weights are not what it says is refused in one line, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from custom_modules.conversion import from_hf, to_hf
from custom_modules.errors import UserError
from tests.support.runs import tensors
from tests.support.trained import Trained, small_config

INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(trained: Trained, tmp_path: Path) -> Path:
    """An export in several files, to change."""
    to_hf(trained.checkpoint, tmp_path / "sharded", shard_bytes=100_000)
    return tmp_path / "sharded"


def weight_map(folder: Path) -> dict[str, str]:
    files: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
    return files


def _without_head(weights: dict[str, torch.Tensor]) -> None:
    del weights["lm_head.weight"]


def _with_bias(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(96)


def _with_another_layer(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.3.input_layernorm.weight"] = torch.zeros(64)


def _narrow(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = torch.zeros(63)


def _padded(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"] = torch.zeros(528, 64)


def _transposed(weights: dict[str, torch.Tensor]) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    weights[name] = weights[name].T.contiguous()


def _mixed(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = weights["model.norm.weight"].half()


def _integers(weights: dict[str, torch.Tensor]) -> None:
    for name, tensor in weights.items():
        weights[name] = tensor.to(torch.int8)


def _diverged(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.2.mlp.up_proj.weight"][79, 63] = float("nan")


def _overflown(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.self_attn.v_proj.weight"][3] = float("-inf")


TENSORS = [
    (_without_head, r"tensor lm_head\.weight is missing"),
    (_with_bias, r"q_proj\.bias has no place in the config's model"),
    (_with_another_layer, r"layers\.3\.input_layernorm\.weight has no place"),
    (_narrow, r"model\.norm\.weight has shape \(63,\), but the config makes it \(64,\)"),
    (_padded, r"lm_head\.weight has shape \(528, 64\), but the config makes it \(500, 64\)"),
    (_transposed, r"down_proj\.weight has shape \(80, 64\), but the config makes it \(64, 80\)"),
    (_mixed, "weights of dtype F16, F32; give all in one of"),
    (_diverged, r"layers\.2\.mlp\.up_proj\.weight has 1 of 5,120 numbers that are NaN or infinite"),
    (_overflown, r"layers\.0\.self_attn\.v_proj\.weight has 64 of 1,536 numbers that are NaN or infinite"),
    (_integers, "weights of dtype I8; give all in one of BF16, F32, F16"),
]


@pytest.mark.parametrize(("change", "message"), TENSORS)
def test_tensors_that_do_not_fit(
    folder: Path, refused: Callable[..., None], change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    refused(folder, message)


@pytest.mark.parametrize("is_listed", [True, False])
def test_buffers_that_older_transformers_saved(
    exported: Path, folder: Path, sharded: Path, tmp_path: Path, is_listed: bool
) -> None:
    """In another dtype than the weights, in one file or several, listed in the index or not."""
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(6).half() for layer in range(3)}
    file = weight_map(sharded)["model.norm.weight"]
    for path in (folder / "model.safetensors", sharded / file):
        save_file({**load_file(path), **buffers}, path)
    if is_listed:
        index = json.loads((sharded / INDEX).read_text())
        index["weight_map"] |= dict.fromkeys(buffers, file)
        (sharded / INDEX).write_text(json.dumps(index))
    plain = from_hf(exported, tmp_path / "plain", small_config())
    for source in (folder, sharded):
        checkpoint = from_hf(source, tmp_path / f"run_{source.name}", small_config())
        for data in plain.glob("dist/*.distcp"):
            assert (checkpoint / "dist" / data.name).read_bytes() == data.read_bytes()


def test_norms_in_fp32_beside_bf16(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that the refusal names makes a folder that is taken, with the same values."""
    weights = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    norms = {name: tensor.float() + 1e-5 for name, tensor in weights.items() if "norm" in name}
    save_file({**weights, **norms}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weights of dtype BF16, F32; give all in one of .*NEW") as refusal:
        from_hf(folder, tmp_path / "refused", small_config())
    monkeypatch.chdir(tmp_path)
    exec(str(refusal.value).partition('python -c "')[2].removesuffix('"'))
    shutil.copy(folder / "tokenizer.model", tmp_path / "NEW")
    made = tensors(from_hf(tmp_path / "NEW", tmp_path / "run", small_config()))
    assert {tensor.dtype for tensor in made.values()} == {torch.float32}
    assert torch.equal(made["decoder.final_layernorm.weight"], norms["model.norm.weight"])
    assert torch.equal(made["output_layer.weight"][:500], weights["lm_head.weight"].float())


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_a_truncated_file(folder: Path, sharded: Path, refused: Callable[..., None], kept: int) -> None:
    for path in (folder / "model.safetensors", sharded / weight_map(sharded)["model.norm.weight"]):
        path.write_bytes(path.read_bytes()[:kept])
        refused(path.parent, rf"{path.name}: damaged or cut short \(.*\); fetch it again")


def test_a_file_that_is_no_safetensors(folder: Path, refused: Callable[..., None]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3662427808\n")
    refused(folder, r"model\.safetensors: damaged or cut short")


def test_a_shard_that_is_missing(sharded: Path, refused: Callable[..., None]) -> None:
    file = weight_map(sharded)["model.norm.weight"]
    (sharded / file).unlink()
    refused(sharded, rf"{file}: missing, though {INDEX} names it")


def test_tensors_that_the_index_does_not_list(sharded: Path, refused: Callable[..., None]) -> None:
    file = weight_map(sharded)["model.norm.weight"]
    weights = load_file(sharded / file)
    save_file({**weights, "model.norm.bias": torch.zeros(64)}, sharded / file)
    refused(sharded, rf"{file}: holds model\.norm\.bias, but {INDEX} does not say so")
    del weights["model.norm.weight"]
    save_file(weights, sharded / file)
    refused(sharded, rf"{file}: model\.norm\.weight is missing, though {INDEX} places it there")


def test_a_tensor_in_two_shards(sharded: Path, refused: Callable[..., None]) -> None:
    """Nobody can say which of them is the model's."""
    files = sorted(set(weight_map(sharded).values()))
    name = next(name for name, file in weight_map(sharded).items() if file == files[0])
    save_file({**load_file(sharded / files[1]), name: torch.zeros(500, 64)}, sharded / files[1])
    refused(sharded, rf"{files[1]}: holds {name}, but")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"lm_head.weight": 5}}',
        '{"weight_map": {"lm_head.weight": "../model.safetensors"}}',
        '{"weight_map": {"lm_head.weight": "/model.safetensors"}}',
        '{"weight_map": {"lm_head.weight": ""}}',
    ],
)
def test_an_index_that_is_none(sharded: Path, refused: Callable[..., None], content: str) -> None:
    (sharded / INDEX).write_text(content)
    refused(sharded, rf"{INDEX}: not an index of tensors \(.*\); fetch it again")


def test_an_empty_index(sharded: Path, refused: Callable[..., None]) -> None:
    (sharded / INDEX).write_text('{"weight_map": {}}')
    refused(sharded, r"tensor .* is missing")


def test_only_pickled_weights(folder: Path, refused: Callable[..., None]) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, rf"hf: no model\.safetensors and no {INDEX}; give a whole Hugging Face folder")
    (folder / "pytorch_model.bin").write_bytes(b"")
    refused(folder, r"save pytorch_model\.bin as safetensors with transformers' save_pretrained")


def test_without_a_tokenizer(folder: Path, refused: Callable[..., None]) -> None:
    (folder / "tokenizer.model").unlink()
    refused(folder, r"no tokenizer\.model, .*; set model\.tokenizer\.library=huggingface")
    (folder / "tokenizer_config.json").unlink()
    (folder / "generation_config.json").unlink()
    refused(folder, r"tokenizer_config\.json", "model.tokenizer.library=huggingface")
    (folder / "tokenizer.json").unlink()
    refused(folder, r"no tokenizer\.model, .*; put the model's there")
    refused(folder, r"no tokenizer\.json, .*; put the model's there", "model.tokenizer.library=huggingface")
