"""`danube convert to-hf` of a DPO run: the adapter is merged in fp32, and rounded once, at the end."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from custom_modules.conversion.hf_export import INDEX, SHARD_BYTES
from custom_modules.dpo.base_model import BaseModel, base_of, load_base
from custom_modules.dpo.checkpoint import PROBES
from custom_modules.dpo.libraries import import_libraries
from custom_modules.errors import UserError
from custom_modules.files import whole_folder
from custom_modules.made import NOTE, check_replaceable, note_files
from custom_modules.model.transformers_attention import NAME, register_attention
from custom_modules.run_folder.checkpoint_files import Checkpoint

LARGEST_KL = 1e-3
"""Nats a token beyond which an export is another model than the one that was trained."""
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def merge_to_hf(checkpoint: Checkpoint, output: Path, dtype: str | None = None, overwrite: bool = False) -> float:
    """Write the model that a DPO run's adapter makes of its base.

    Args:
        checkpoint: whole.
        output: the folder to make; it appears whole or not at all.
        dtype: ``bf16`` or ``fp32``; None for the precision that the run trained in.
        overwrite: replace an earlier export.

    Returns:
        The mean KL divergence of the export from adapter and base, in nats a token of held-out conversations.

    Raises:
        UserError: the base is gone, ``output`` cannot be written, or rounding moved the model by over `LARGEST_KL`.
    """
    if output.exists() and not overwrite:
        raise UserError(f"{output}: already there; give another folder, or --overwrite")
    check_replaceable(output, "an earlier export")
    import_libraries()
    register_attention()
    base = base_of(checkpoint)
    name = dtype or ("bf16" if checkpoint.plain_config["trainer"]["precision"] == "bf16-mixed" else "fp32")
    probes: list[list[int]] = json.loads((checkpoint.path / PROBES).read_bytes())
    with whole_folder(output, replace=overwrite) as aside:
        model, expected = _merged(base, checkpoint.path, probes)
        _write(aside, base.export, model.to(_DTYPES[name]), name)
        del model
        kl = _divergence(_load(aside, _DTYPES[name]), expected, probes)
        tokens = sum(map(len, probes))
        print(f"KL of the {name} export to adapter + base: {kl:.2e} nats a token, over {tokens:,}", file=sys.stderr)
        if not kl <= LARGEST_KL:
            raise UserError(
                f"{output}: in {name} it is another model than {checkpoint.path}: KL {kl:.2e} nats a token, above "
                f"{LARGEST_KL:g}; give --dtype fp32"
            )
        note_files(aside)
    return kl


def _merged(base: BaseModel, adapter: Path, probes: list[list[int]]) -> tuple[Any, list[Tensor]]:
    """Return the merged model, in fp32, and the log-probabilities of adapter and base, before they were merged."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_base(base, NAME), str(adapter)).eval()
    expected = [_log_probabilities(model, ids) for ids in probes]
    return model.merge_and_unload(), expected


@torch.no_grad()
def _log_probabilities(model: Any, ids: list[int]) -> Tensor:
    """Return ``[tokens, vocabulary]`` in fp32."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return F.log_softmax(logits.float(), dim=-1)


def _divergence(model: Any, expected: list[Tensor], probes: list[list[int]]) -> float:
    total, tokens = 0.0, 0
    for ids, theirs in zip(probes, expected, strict=True):
        ours = _log_probabilities(model, ids)
        total += float((theirs.exp() * (theirs - ours)).sum(dtype=torch.float64))
        tokens += len(ids)
    return total / max(tokens, 1)


def _load(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=NAME).eval()


def _write(folder: Path, export: Path, model: Any, dtype: str) -> None:
    """Write the weights under their names, and beside them what the base's export has."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    plan = split_torch_state_dict_into_shards(state, max_shard_size=SHARD_BYTES)
    for file, names in plan.filename_to_tensors.items():
        save_file({name: state[name] for name in names}, folder / file, {"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    for path in sorted(export.iterdir()):
        if path.is_file() and path.suffix != ".safetensors" and path.name not in (INDEX, NOTE):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((folder / "config.json").read_bytes())
    config["dtype"] = {"bf16": "bfloat16", "fp32": "float32"}[dtype]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
