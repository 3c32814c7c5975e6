"""A sentence encoder's folder on disk: transformers' files, and what sentence-transformers' files beside them say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from custom_modules.errors import UserError
from data_prep.work.transformers_models import quiet, saved_tokenizer, short

_FURTHER_MODULES = ("Normalize",)
_NO_LIMIT = 10**9
"""transformers says 10**30 for a tokenizer that does not know one."""
_REMEDY = "give the local folder of an encoder, as save_pretrained or sentence-transformers writes it"


@dataclass(frozen=True)
class FolderSettings:
    """What the folder decides: mean pooling and no limit where it is not sentence-transformers'."""

    transformer: Path
    """Where transformers' files are."""
    pooling: Literal["cls", "mean"] = "mean"
    max_length: int | None = None
    """Tokens."""
    lower_case: bool = False


def read_settings(folder: Path) -> FolderSettings:
    """
    Raises:
        UserError: no folder, a file in it that is no JSON, or a module or pooling that is not supported.
    """
    if not folder.is_dir():
        raise UserError(f"encoder={folder}: no such folder; {_REMEDY}")
    transformer, pooling = folder, folder / "1_Pooling"
    for kind, place in _modules(folder / "modules.json"):
        if kind == "Transformer":
            transformer = place
        elif kind == "Pooling":
            pooling = place
        elif kind not in _FURTHER_MODULES:
            raise UserError(
                f"{folder / 'modules.json'}: the module {kind} is not supported; use an encoder of Transformer, "
                "Pooling and Normalize"
            )
    if not (transformer / "config.json").is_file():
        raise UserError(f"encoder={folder}: no config.json in {transformer}; {_REMEDY}")
    limits = _json(transformer / "sentence_bert_config.json", dict) or {}
    return FolderSettings(
        transformer,
        _pooling(pooling / "config.json"),
        limits.get("max_seq_length"),
        bool(limits.get("do_lower_case", False)),
    )


def load_encoder_model(folder: Path) -> Any:
    """transformers' AutoModel in float32, on the CPU, in evaluation mode; nothing is asked of any hub.

    Raises:
        UserError: transformers cannot load it, weights are missing, or it is no encoder.
    """
    try:
        with quiet():
            model, account = transformers.AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:
        raise UserError(f"encoder={folder}: transformers cannot load it ({short(error)}); {_REMEDY}") from None
    missing = sorted(key for key in account["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise UserError(f"encoder={folder}: {len(missing)} weights are missing, such as {missing[0]}; {_REMEDY}")
    if model.config.is_encoder_decoder:
        raise UserError(f"encoder={folder}: {type(model).__name__} is an encoder and a decoder; {_REMEDY}")
    return model.eval()


def load_encoder_tokenizer(folder: Path) -> Any:
    """transformers' AutoTokenizer.

    Raises:
        UserError: there is none, or it has no token to pad with.
    """
    tokenizer = saved_tokenizer(folder, f"encoder={folder}")
    if tokenizer.pad_token_id is None:
        raise UserError(f"encoder={folder}: its tokenizer has no token to pad with; {_REMEDY}")
    return tokenizer


def _modules(path: Path) -> list[tuple[str, Path]]:
    """Return the class and the folder of each of sentence-transformers' modules; none where there is no such file."""
    modules = _json(path, list)
    if not all(isinstance(module, dict) and isinstance(module.get("type"), str) for module in modules or ()):
        raise UserError(f"{path}: not a list of modules and their types; {_REMEDY}")
    return [(each["type"].rpartition(".")[2], path.parent / each.get("path", "")) for each in modules or ()]


def _pooling(path: Path) -> Literal["cls", "mean"]:
    config = _json(path, dict)
    if config is None:
        return "mean"
    on = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    modes = [config["pooling_mode"]] if "pooling_mode" in config else on
    if modes in (["cls"], ["pooling_mode_cls_token"]):
        return "cls"
    if modes in (["mean"], ["pooling_mode_mean_tokens"]):
        return "mean"
    raise UserError(f"{path}: pools by {' and '.join(map(str, modes)) or 'nothing'}; use an encoder with cls or mean")


def _json(path: Path, kind: type) -> Any:
    """What a file holds; None where there is no such file."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({short(error)}); {_REMEDY}") from None
    if not isinstance(content, kind):
        raise UserError(f"{path}: no {kind.__name__} in it; {_REMEDY}")
    return content


def readable_length(model: Any, tokenizer: Any) -> int | None:
    """How many tokens a model has positions for, as far as it is known."""
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if table is not None and table.padding_idx is not None:  # RoBERTa's kind counts from behind the padding
        positions = table.num_embeddings - table.padding_idx - 1
    known = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
    return min(known, default=None)
