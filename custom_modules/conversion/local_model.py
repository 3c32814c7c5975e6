"""Hugging Face models of a local folder, of which no code is run: what an export carries for others is here too."""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from custom_modules.architecture import ARCHITECTURES
from custom_modules.architecture.interface import HuggingFace
from custom_modules.errors import UserError


def carried_file(names: HuggingFace) -> Path | None:
    """Return the module that an export of a class carries; None where transformers has the class."""
    return Path(__file__).with_name(f"{names.module}.py") if names.module else None


@cache
def register_classes() -> None:
    """Have transformers' auto classes take, for a model of ours, the project's class and not its folder's."""
    from transformers import AutoConfig, AutoModelForCausalLM

    for architecture in ARCHITECTURES.values():
        names = architecture.hugging_face
        if names.module:
            module = importlib.import_module(f"{__package__}.{names.module}")
            config_class = getattr(module, str(names.config_class))
            AutoConfig.register(names.model_type, config_class, exist_ok=True)
            AutoModelForCausalLM.register(config_class, getattr(module, names.class_name), exist_ok=True)


def load_auto_tokenizer(folder: Path) -> Any:
    """Load a folder's tokenizer as transformers' AutoTokenizer does; nobody is asked whether its code may be run.

    Raises:
        OSError, ValueError: transformers cannot load it.
    """
    from transformers import AutoTokenizer

    register_classes()
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def load_export(folder: Path, device: torch.device | None = None) -> tuple[Any, Any]:
    """Load a folder's tokenizer and model, as its own config.json has them.

    Args:
        device: where the model is put; None: on the CPU.

    Raises:
        UserError: it is no Hugging Face folder, transformers cannot load it, or the device has no room for it.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a Hugging Face folder; give what `danube convert to-hf` wrote")
    try:
        tokenizer, model = load_auto_tokenizer(folder), load_model(folder)
        return tokenizer, model if device is None else model.to(device)
    except UserError:
        raise
    except torch.OutOfMemoryError:
        raise UserError(
            f"{folder}: the GPU has no room for the model; free it, or set CUDA_VISIBLE_DEVICES= (nothing) for the CPU"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: transformers cannot load it ({' '.join(str(error).split())})") from None


def load_model(folder: Path, dtype: torch.dtype | str = "auto") -> torch.nn.Module:
    """Load a causal language model for evaluation, on the CPU.

    Args:
        dtype: ``auto`` for the one of its config.json.

    Raises:
        UserError: its class is code in the folder, and none of the project's.
        OSError, ValueError: transformers cannot load it.
    """
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    register_classes()
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if raw.get("auto_map") and raw.get("model_type") not in CONFIG_MAPPING:
        raise UserError(
            f"{folder / 'config.json'}: model_type={json.dumps(raw.get('model_type'))} is a class of the folder's own "
            "code, and none of that is run here; give a model whose class transformers has"
        )
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
    return model.eval()
