"""A Hugging Face model's config.json and generation_config.json: written from a run's config, checked against one."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from custom_modules.architecture.interface import HuggingFace
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.conversion.local_model import register_classes
from custom_modules.errors import UserError

Json = dict[str, Any]

KEYS = {"head_dim": "kv_channels"}
"""Our names of the shape whose key in a config is called otherwise."""


def config_json(config: TrainingConfig, dtype: torch.dtype, eos_id: int) -> Json:
    """The content of config.json.

    ``bos_token_id`` is the eos: in training a document followed the eos of the one before, and no bos was ever seen.
    The RoPE base is there in transformers 5's form and in the one that older versions and other engines read.
    """
    model, names = config.model, config.model.kind.hugging_face
    rope = {
        "rope_theta": model.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
    }
    return {
        "architectures": [names.class_name],
        "model_type": names.model_type,
        **({"auto_map": names.auto_map} if names.module else {}),
        **{theirs: getattr(model, ours) for theirs, ours in names.shape.items()},
        **names.fixed(model),
        **names.written,
        **(rope if model.position_embedding_type == "rope" else {}),
        "max_position_embeddings": Curriculum.from_config(config).max_seq_length,
        "initializer_range": model.init_method_std,
        "attention_dropout": 0.0,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "use_cache": True,
        "dtype": str(dtype).removeprefix("torch."),
    }


REPETITION_PENALTY = 1.1
"""Of a chat model's answers: section 6.3, and the published models' generation_config.json."""


def generation_config_json(eos_id: int, pad_id: int, is_chat: bool = False) -> Json:
    """The content of generation_config.json; a chat model's has `REPETITION_PENALTY`."""
    penalty = {"repetition_penalty": REPETITION_PENALTY} if is_chat else {}
    return {"bos_token_id": eos_id, "eos_token_id": eos_id, "pad_token_id": pad_id, "do_sample": False, **penalty}


def check_config(folder: Path, config: TrainingConfig) -> None:
    """Compare a folder's config.json with ours.

    A context that is longer than the run's longest sequence fits, and stderr says so: what the run exports will have
    the run's. The weights' dtype is not looked at, since the weights themselves have it.

    Raises:
        UserError: it is missing, or of a model that ours cannot be, or its fields differ from ours; names each of them
            with both values, and the overrides that would make them equal.
    """
    path = folder / "config.json"
    model, exported = config.model, config.model.kind.hugging_face
    raw = _read(path)
    names = _class_of(path, raw, exported)
    theirs = _with_defaults(path, raw)
    ours = {name: (f"model.{KEYS.get(key, key)}", getattr(model, key)) for name, key in exported.shape.items()}
    sized = all(theirs.get(name) == value for name, (_, value) in ours.items())
    for name, value in names.fixed(model).items():
        # A field with an entry for each layer says nothing where the sizes differ, and they are named below.
        if theirs.get(name) != value and (sized or not isinstance(value, list)):
            raise _not_ours(path, name, theirs.get(name), value)
    _check_layer_types(path, theirs)
    if model.position_embedding_type == "rope":
        _check_rope(path, raw, theirs["rope_parameters"])
        theirs["rope_theta"] = theirs["rope_parameters"]["rope_theta"]
        ours["rope_theta"] = ("model.rotary_base", model.rotary_base)
    said, overrides = [], []
    for name, (key, value) in ours.items():
        if (their := theirs.get(name)) != value:
            said.append(f"{name}={json.dumps(their)}, but {key}={json.dumps(value)}")
            overrides.append(f"{key}={json.dumps(their)}")
    context = theirs["max_position_embeddings"]
    for key, length in _lengths(config).items():
        if length > context:
            said.append(f"max_position_embeddings={context}, but {key}={length}")
            overrides.append(f"{key}={context}")
    if said:
        raise UserError(f"{path}: {'; '.join(said)}; if it is the model you mean, add {' '.join(overrides)}")
    longest = Curriculum.from_config(config).max_seq_length
    if context > longest:
        print(f"{path}: max_position_embeddings={context}; the run's exports will have {longest}", file=sys.stderr)


def _lengths(config: TrainingConfig) -> dict[str, int]:
    """Sequence lengths, by the keys that set them."""
    if config.model.encoder_seq_length:
        return {"model.encoder_seq_length": config.model.encoder_seq_length}
    stages = config.stages
    return {f"curriculum.stages.{name}.encoder_seq_length": stage.encoder_seq_length for name, stage in stages.items()}


def _read(path: Path) -> Json:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the folder of a Hugging Face model") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); give the folder of a Hugging Face model") from None
    if not isinstance(raw, dict) or "model_type" not in raw:
        raise UserError(f"{path}: has no model_type; give the folder of a Hugging Face model")
    return raw


def _class_of(path: Path, raw: Json, exported: HuggingFace) -> HuggingFace:
    known = {names.model_type: names for names in (exported, *exported.alike)}
    names = known.get(raw["model_type"])
    if names is None:
        raise _not_ours(path, "model_type", raw["model_type"], *known)
    if raw.get("architectures") not in (None, [names.class_name]):
        raise _not_ours(path, "architectures", raw["architectures"], [names.class_name])
    for name in names.absent:
        if raw.get(name):
            raise UserError(f"{path}: {name}={json.dumps(raw[name])} cannot be converted; only a model without it can")
    return names


def _check_layer_types(path: Path, theirs: Json) -> None:
    """Refuse layers of several kinds, and those that contradict the window: all have it, or it is not there."""
    kinds = theirs.get("layer_types")
    only = "sliding_attention" if theirs.get("sliding_window") else "full_attention"
    if kinds is not None and kinds != [only] * theirs["num_hidden_layers"]:
        raise _not_ours(path, "layer_types", kinds, [only] * theirs["num_hidden_layers"])


def _check_rope(path: Path, raw: Json, rope: Json) -> None:
    where = "rope_scaling" if raw.get("rope_scaling") else "rope_parameters"
    for name, value in {"rope_type": "default", "partial_rotary_factor": 1.0}.items():
        if rope.get(name, value) != value:
            raise _not_ours(path, f"{where}.{name}", rope[name], value)
    if raw.get("rope_theta") not in (None, rope["rope_theta"]):
        raise UserError(
            f"{path}: rope_theta={raw['rope_theta']}, but {where}.rope_theta={rope['rope_theta']}; make them equal"
        )


def _not_ours(path: Path, name: str, value: Any, *only: Any) -> UserError:
    known = " or ".join(map(json.dumps, only))
    return UserError(f"{path}: {name}={json.dumps(value)} cannot be converted; only {known} can")


def _with_defaults(path: Path, raw: Json) -> Json:
    """What transformers makes of the fields: it knows the older names, and what an absent field means."""
    from transformers import CONFIG_MAPPING

    register_classes()
    try:
        return CONFIG_MAPPING[raw["model_type"]].from_dict(deepcopy(raw)).to_dict()
    except Exception as error:
        raise UserError(f"{path}: transformers cannot read it ({' '.join(str(error).split())})") from None
