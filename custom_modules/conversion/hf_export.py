"""From a checkpoint to a Hugging Face folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor

from custom_modules.config.schema import ModelConfig
from custom_modules.conversion.dist_reader import DistReader
from custom_modules.conversion.hf_config import config_json, generation_config_json
from custom_modules.conversion.hf_tokenizer import ONLY_SENTENCEPIECE, write_tokenizer
from custom_modules.conversion.layout import blocks
from custom_modules.curriculum.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.files import published_folder
from custom_modules.tokenizer import load_tokenizer
from custom_modules.training import checkpoint_files

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SHARD_BYTES = 512 * 1024**2
INDEX = "model.safetensors.index.json"


def to_hf(
    source: Path, output: Path, dtype: str | None = None, overwrite: bool = False, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a `MistralForCausalLM` with its tokenizer, whatever TP and PP the checkpoint was written under.

    Padded vocabulary rows are left out. Memory holds one file of weights, and torch.

    Args:
        source: a checkpoint folder, or a run folder for its newest one.
        output: the folder to make; it appears whole or not at all.
        dtype: ``bf16`` or ``fp32``; None for the weights' own: ``trainer.precision``'s.
        overwrite: replace an earlier export.
        shard_bytes: the largest size of a file of weights.

    Raises:
        UserError: the checkpoint is missing or damaged, or ``output`` cannot be written.
    """
    _check_output(output, overwrite)
    checkpoint = checkpoint_files.resolve(source)
    config = checkpoint.config()
    tokenizer = load_tokenizer(config.model.tokenizer.library, checkpoint.tokenizer)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise UserError(
            f"{tokenizer.path}: {tokenizer.vocab_size} tokens, but the checkpoint's model.vocab_size is "
            f"{config.model.vocab_size}; they are of different runs"
        )
    reader = DistReader(checkpoint.dist)
    stored = {reader.check(block, config.model.num_layers) for block in blocks(config.model)}
    if len(stored) > 1 and dtype is None:
        raise UserError(f"{checkpoint.dist}: weights of several dtypes ({', '.join(map(str, stored))}); give --dtype")
    target = DTYPES[dtype] if dtype else stored.pop()
    with published_folder(output, replace=overwrite) as aside:
        _write_weights(aside, reader, config.model, target, shard_bytes)
        _write_json(aside / "config.json", config_json(config, target, tokenizer.eos_id))
        _write_json(aside / "generation_config.json", generation_config_json(tokenizer.eos_id))
        write_tokenizer(tokenizer, aside, Curriculum.from_config(config).max_seq_length)
    if tokenizer.not_as_json:
        print(
            f"{output / ONLY_SENTENCEPIECE}: encode with SentencePiece itself and not with AutoTokenizer, because no "
            f"tokenizer.json equals this model: {tokenizer.not_as_json}",
            file=sys.stderr,
        )


def _check_output(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise UserError(f"{output}: already there; give another folder, or --overwrite")
    if output.is_file() or (output.exists() and any(output.iterdir()) and not (output / "config.json").is_file()):
        raise UserError(f"{output}: not an earlier export, so it is not overwritten; give another folder")


def _write_weights(folder: Path, reader: DistReader, model: ModelConfig, dtype: torch.dtype, shard_bytes: int) -> None:
    shapes = {name: shape for block in blocks(model) for name, shape in block.parts.items()}
    empty = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in shapes.items()}
    plan = split_torch_state_dict_into_shards(empty, max_shard_size=shard_bytes)
    pending: dict[str, dict[str, Tensor]] = {file: {} for file in plan.filename_to_tensors}
    for name, tensor in _tensors(reader, model, dtype):
        file = plan.tensor_to_filename[name]
        pending[file][name] = tensor
        if len(pending[file]) == len(plan.filename_to_tensors[file]):
            _save(folder / file, pending.pop(file))
    if plan.is_sharded:
        _write_json(folder / INDEX, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename})


def _tensors(reader: DistReader, model: ModelConfig, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    for block in blocks(model):
        for name, part in zip(block.parts, block.split(reader.read(block)), strict=True):
            yield name, part.to(dtype, copy=True).contiguous()


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except Exception as error:
        raise OSError(f"{path.name}: {error}") from error


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
