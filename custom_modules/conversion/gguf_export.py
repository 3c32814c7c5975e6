"""`danube convert to-gguf`: a checkpoint becomes a file for llama.cpp, which knows its architecture by another name."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from custom_modules.chat_tokenizer.template import ANSWER, PROMPT
from custom_modules.config.stages import Curriculum
from custom_modules.conversion.export_source import ExportSource, open_source
from custom_modules.conversion.gguf_tokenizer import add_tokenizer
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_stream
from custom_modules.version import VERSION

if TYPE_CHECKING:
    from gguf import GGUFWriter

MAGIC = b"GGUF"
MADE_BY = "danube.version"
"""The entry that tells a file of ours from another program's."""
_BEGINNING = 4096


def to_gguf(source: Path, output: Path, dtype: str | None = None, overwrite: bool = False) -> None:
    """Write a GGUF file with weights and tokenizer, whatever TP and PP the checkpoint was written under.

    Norms are in fp32, as llama.cpp wants them, the matrices in ``dtype``. Padded vocabulary rows are left out. Memory
    holds torch and a tensor at a time. The checkpoint's hashes are computed meanwhile, and nothing is published unless
    they are right.

    Args:
        source: a checkpoint folder, or a run folder for its newest one.
        output: the file to make; it appears whole or not at all.
        dtype: ``bf16`` or ``fp32``; None for the weights' own: ``trainer.precision``'s.
        overwrite: replace an earlier export.

    Raises:
        UserError: the checkpoint is missing or damaged; llama.cpp has no such architecture that its own converter does
            not write; it has no such tokenizer; ``output`` cannot be written, or is not ours; `gguf` is not installed.
    """
    _check_output(output, overwrite)
    if find_spec("gguf") is None:
        raise UserError("convert to-gguf: gguf is not installed; pip install 'danube-pretrain[gguf]'")
    exported = open_source(source, dtype)
    architecture = _architecture(exported)
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole_stream(output) as stream:
        verified = exported.verify_meanwhile()
        try:
            with _writer(Path(stream.name), architecture) as writer:
                _add_metadata(writer, exported)
                _write_weights(writer, exported)
        except UserError:
            verified.result()
            raise
        verified.result()


def _check_output(output: Path, overwrite: bool) -> None:
    if not os.path.lexists(output):
        return
    if not overwrite:
        raise UserError(f"{output}: already there; give another file, or --overwrite")
    if not output.is_file() or output.is_symlink():
        raise UserError(f"{output}: not an earlier export, so it is not replaced; give another file")
    with explained(output), output.open("rb") as stream:
        begins = stream.read(_BEGINNING)
    if not begins.startswith(MAGIC) or MADE_BY.encode() not in begins:
        raise UserError(f"{output}: not an earlier export, so it is not replaced; give another file")


def _architecture(exported: ExportSource) -> str:
    kind = exported.config.model.kind
    if kind.gguf_architecture is None:
        raise UserError(
            f"{exported.checkpoint.path}: model.architecture={kind.name}: to-gguf writes lokilm only; llama.cpp's own "
            "convert_hf_to_gguf.py takes the folder of `danube convert to-hf`"
        )
    return kind.gguf_architecture


@contextmanager
def _writer(path: Path, architecture: str) -> Iterator[GGUFWriter]:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, architecture)
    try:
        yield writer
    finally:
        writer.close()


def _add_metadata(writer: GGUFWriter, exported: ExportSource) -> None:
    from gguf import LlamaFileType

    config, model = exported.config, exported.config.model
    writer.add_string(MADE_BY, VERSION)
    writer.add_name(config.exp_manager.name)
    writer.add_file_type(LlamaFileType.MOSTLY_BF16 if exported.dtype == torch.bfloat16 else LlamaFileType.ALL_F32)
    writer.add_context_length(Curriculum.from_config(config).max_seq_length)
    writer.add_vocab_size(model.vocab_size)
    writer.add_embedding_length(model.hidden_size)
    writer.add_block_count(model.num_layers)
    writer.add_feed_forward_length(model.ffn_hidden_size)
    writer.add_head_count(model.num_attention_heads)
    writer.add_head_count_kv(model.num_query_groups)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(model.layernorm_epsilon)
    add_tokenizer(writer, exported.tokenizer, model.vocab_size)
    if exported.chat is not None:
        writer.add_chat_template(exported.chat.template)
        print(
            f"{exported.checkpoint.path}: llama.cpp does not keep {PROMPT} and {ANSWER} apart from what follows: a "
            "message that begins with a quotation mark, a bracket or the like may have other tokens than in training; "
            "transformers, with the folder of `danube convert to-hf`, has the same",
            file=sys.stderr,
        )


def _write_weights(writer: GGUFWriter, exported: ExportSource) -> None:
    from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map

    [architecture] = (kind for kind, name in MODEL_ARCH_NAMES.items() if name == writer.arch)
    names = get_tensor_name_map(architecture, exported.config.model.num_layers)
    for name, shape in exported.shapes.items():
        theirs = names.get_name(name, try_suffixes=(".weight",))
        assert theirs, f"{writer.arch} has no place for {name}"
        as_bf16 = exported.dtype == torch.bfloat16 and len(shape) > 1
        kind = GGMLQuantizationType.BF16 if as_bf16 else GGMLQuantizationType.F32
        dtype = np.dtype(np.int16 if as_bf16 else np.float32)
        writer.add_tensor_info(theirs, shape, dtype, math.prod(shape) * dtype.itemsize, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor in exported.tensors():
        writer.write_tensor_data(_as_numpy(tensor, exported.dtype))


def _as_numpy(tensor: Tensor, dtype: torch.dtype) -> np.ndarray[Any, Any]:
    """A tensor as its file has it; numpy has no bf16, so that one is given as its bits."""
    if tensor.dim() == 1 or dtype == torch.float32:
        return tensor.to(dtype).float().contiguous().numpy()
    return tensor.to(torch.bfloat16).contiguous().view(torch.int16).numpy()
