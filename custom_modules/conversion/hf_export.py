"""`danube convert to-hf`: a checkpoint becomes a Hugging Face folder."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards

from custom_modules.config.stages import Curriculum
from custom_modules.conversion.export_source import ExportSource, open_source
from custom_modules.conversion.hf_config import config_json, generation_config_json
from custom_modules.conversion.hf_tokenizer import ONLY_SENTENCEPIECE, write_tokenizer
from custom_modules.conversion.local_model import carried_file
from custom_modules.conversion.model_card import CARD, model_card
from custom_modules.conversion.streams import SafetensorsFile
from custom_modules.errors import UserError
from custom_modules.files import whole_folder
from custom_modules.made import check_replaceable, note_files
from custom_modules.tokenizer.exported import padding_id

SHARD_BYTES = 5 * 10**9
"""Hugging Face's own limit."""
SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"


def to_hf(
    source: Path,
    output: Path,
    dtype: str | None = None,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    check: Callable[[Path, Path], object] | None = None,
) -> None:
    """Write a Hugging Face model with its tokenizer, whatever TP and PP the checkpoint was written under.

    Padded vocabulary rows are left out. Memory holds torch and a tensor at a time. The checkpoint's hashes are computed
    meanwhile, and nothing is published unless they are right.

    Args:
        source: a checkpoint folder, or a run folder for its newest one.
        output: the folder to make; it appears whole or not at all.
        dtype: ``bf16`` or ``fp32``; None for the weights' own: ``trainer.precision``'s.
        overwrite: replace an earlier export.
        shard_bytes: the largest size of a file of weights.
        check: called with the checkpoint's folder and the export's before that is published, such as `verify`; where it
            raises, nothing is.

    Raises:
        UserError: the checkpoint is missing or damaged, or ``output`` cannot be written.
    """
    _check_output(output, overwrite)
    exported = open_source(source, dtype)
    config, tokenizer = exported.config, exported.tokenizer
    pad_id = padding_id(tokenizer)
    with whole_folder(output, replace=overwrite) as aside:
        verified = exported.verify_meanwhile()
        try:
            _write_weights(aside, exported, shard_bytes)
        except UserError:
            verified.result()
            raise
        hf_config = config_json(config, exported.dtype, tokenizer.eos_id)
        _write_json(aside / "config.json", hf_config)
        if code := carried_file(config.model.kind.hugging_face):
            shutil.copyfile(code, aside / code.name)
        is_chat = exported.chat is not None
        _write_json(aside / "generation_config.json", generation_config_json(tokenizer.eos_id, pad_id, is_chat))
        _write_tokenizer(exported, aside)
        _write_card(exported, hf_config, aside / CARD)
        verified.result()
        if check is not None:
            check(exported.checkpoint.path, aside)
        note_files(aside)
    if pad_id == tokenizer.eos_id:
        print(
            f"{output}: pad_token is {tokenizer.token(pad_id)}, the end of text, as the tokenizer has no other control "
            "token: training that leaves padding out of the loss needs one of its own, else nothing teaches it to stop",
            file=sys.stderr,
        )
    if tokenizer.not_as_json:
        print(
            f"{output / ONLY_SENTENCEPIECE}: encode with SentencePiece itself and not with AutoTokenizer, because no "
            f"tokenizer.json equals this model: {tokenizer.not_as_json}",
            file=sys.stderr,
        )


def _check_output(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise UserError(f"{output}: already there; give another folder, or --overwrite")
    check_replaceable(output, "an earlier export")


def _write_weights(folder: Path, exported: ExportSource, shard_bytes: int) -> None:
    shapes, dtype = exported.shapes, exported.dtype
    empty = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in shapes.items()}
    plan = split_torch_state_dict_into_shards(empty, max_shard_size=shard_bytes)
    with ExitStack() as stack:
        files = {
            file: stack.enter_context(SafetensorsFile(folder / file, {name: shapes[name] for name in names}, dtype))
            for file, names in plan.filename_to_tensors.items()
        }
        for name, tensor in exported.tensors():
            files[plan.tensor_to_filename[name]].add(name, tensor.to(dtype))
    if plan.is_sharded:
        _write_json(folder / INDEX, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename})


def _write_tokenizer(exported: ExportSource, folder: Path) -> None:
    max_length = Curriculum.from_config(exported.config).max_seq_length
    if exported.chat is not None:
        exported.chat.save(folder, max_length)
    else:
        write_tokenizer(exported.tokenizer, folder, max_length)


def _write_card(exported: ExportSource, hf_config: Mapping[str, Any], path: Path) -> None:
    checkpoint = exported.checkpoint
    parameters = sum(map(math.prod, exported.shapes.values()))
    trained = f"{checkpoint.consumed_tokens:,} tokens in {checkpoint.step:,} steps"
    path.write_text(model_card(checkpoint.plain_config, hf_config, parameters, trained), encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
