"""`MistralForCausalLM`'s config.json and generation_config.json: written from a run's config, checked against one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from custom_modules.config.schema import Config
from custom_modules.curriculum.stages import Curriculum
from custom_modules.errors import UserError

Json = dict[str, Any]

SHAPE = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "ffn_hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_query_groups",
    "head_dim": "head_dim",
    "rms_norm_eps": "layernorm_epsilon",
    "sliding_window": "sliding_window",
}
"""Hugging Face's names of our ``model`` keys. Both count a window in visible tokens, a token itself included."""

FIXED = {"hidden_act": "silu", "tie_word_embeddings": False}


def config_json(config: Config, dtype: torch.dtype, eos_id: int) -> Json:
    """The content of config.json.

    ``bos_token_id`` is the eos: in training a document followed the eos of the one before, and no bos was ever seen.
    The RoPE base is there in transformers 5's form and in the one that older versions and other engines read.
    """
    model = config.model
    return {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        **{theirs: getattr(model, ours) for theirs, ours in SHAPE.items()},
        **FIXED,
        "rope_theta": model.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
        "max_position_embeddings": Curriculum.from_config(config).max_seq_length,
        "initializer_range": model.init_method_std,
        "attention_dropout": 0.0,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "use_cache": True,
        "dtype": str(dtype).removeprefix("torch."),
    }


def generation_config_json(eos_id: int) -> Json:
    """The content of generation_config.json: padding, where there is any, is the eos too."""
    return {"bos_token_id": eos_id, "eos_token_id": eos_id, "pad_token_id": eos_id, "do_sample": False}


def check_config(folder: Path, config: Config) -> None:
    """Compare a folder's config.json with ours.

    Raises:
        UserError: it is missing or not a Mistral's, or a field differs; names it with both values.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        kind = raw["model_type"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path}: not the config of a Hugging Face model ({error!r}); give the model's folder"
        ) from None
    if kind != "mistral":
        raise UserError(f"{path}: model_type={kind} cannot be converted; only mistral can")
    theirs = _with_defaults(path, raw)
    for name, key in SHAPE.items():
        ours = getattr(config.model, key)
        if theirs.get(name) != ours:
            key = "kv_channels" if key == "head_dim" else key
            raise UserError(f"{path}: {name}={theirs.get(name)}, but model.{key}={ours}; set model.{key} to it")
    for name, value in FIXED.items():
        if theirs.get(name) != value:
            raise UserError(f"{path}: {name}={theirs.get(name)} cannot be converted; only {value} can")
    rope = theirs.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise UserError(f"{path}: rope_type={rope['rope_type']} cannot be converted; only default can")
    if rope.get("rope_theta") != config.model.rotary_base:
        raise UserError(
            f"{path}: rope_theta={rope.get('rope_theta')}, but model.rotary_base={config.model.rotary_base}; "
            "set model.rotary_base to it"
        )


def _with_defaults(path: Path, raw: Json) -> Json:
    """What transformers makes of the fields: it knows the older names, and what an absent field means."""
    from transformers import MistralConfig

    try:
        return MistralConfig.from_dict(raw).to_dict()
    except Exception as error:
        raise UserError(f"{path}: transformers cannot read it ({' '.join(str(error).split())})") from None
