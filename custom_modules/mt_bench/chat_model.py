"""The folder of a chat model, looked at before its weights are loaded: what it is, and what identifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import readable, sha256_of

CONFIG = "config.json"
_GENERATION_CONFIG = "generation_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
_WEIGHTS = (".safetensors", ".bin")
_OF_A_TOKENIZER = ("tokenizer", "special_tokens", "added_tokens", "vocab", "merges")
"""How the names of a tokenizer's files begin."""
_OF_A_RUN = ("checkpoints", "metadata.json")
"""What a run's folder has, and a checkpoint's."""


@dataclass(frozen=True)
class ChatModel:
    """A Hugging Face folder with a chat template.

    Attributes:
        path: the folder.
        eos_ids: the tokens that end an answer.
        identity: SHA-256 of what answers depend on: of each file of weights, of each of the tokenizer, of the template.
    """

    path: Path
    eos_ids: tuple[int, ...]
    identity: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """One hash of all that identifies it."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def open_chat_model(path: Path) -> ChatModel:
    """Look at a chat model's folder; all of its weights are read for their hashes.

    Raises:
        UserError: it is no Hugging Face folder, or has no chat template, or names no token that ends an answer.
    """
    if not (path / CONFIG).is_file():
        if any((path / name).exists() for name in _OF_A_RUN):
            raise UserError(
                f"{path}: a run, and no export; convert it first: danube convert to-hf {path} exports/{path.name}"
            )
        raise UserError(f"{path}: no {CONFIG} there; give the Hugging Face folder that `danube convert to-hf` wrote")
    with readable(path):
        template = _template(path)
        files = sorted(file for file in path.iterdir() if file.is_file())
        weights = [file for file in files if file.name == CONFIG or file.suffix in _WEIGHTS]
        tokenizer = [file for file in files if file.name.startswith(_OF_A_TOKENIZER)]
        identity = {
            "weights": {file.name: sha256_of(file) for file in weights},
            "tokenizer": {file.name: sha256_of(file) for file in tokenizer},
            "template": hashlib.sha256(template.encode()).hexdigest(),
        }
    return ChatModel(path, _eos_ids(path), identity)


def _template(path: Path) -> str:
    """Return the chat template that transformers takes: a file of its own, or a text of the tokenizer's config."""
    if (path / _TEMPLATE).is_file():
        return (path / _TEMPLATE).read_text(encoding="utf-8")
    template = _json(path / _TOKENIZER_CONFIG).get("chat_template")
    if not template:
        raise UserError(
            f"{path}: no chat template (neither {_TEMPLATE} nor chat_template in {_TOKENIZER_CONFIG}), so this is no "
            "chat model; give the export of a run of `danube sft` or `danube dpo`"
        )
    return template if isinstance(template, str) else json.dumps(template)


def _eos_ids(path: Path) -> tuple[int, ...]:
    for name in (_GENERATION_CONFIG, CONFIG):
        found = _json(path / name).get("eos_token_id")
        ids = found if isinstance(found, list) else [found]
        if ids and all(isinstance(index, int) for index in ids):
            return tuple(ids)
    raise UserError(
        f"{path}: no eos_token_id in {_GENERATION_CONFIG} or {CONFIG}, so no answer would end; put the one there that "
        "its chat template ends an answer with"
    )


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); copy it again from where the model is from") from None
    return found if isinstance(found, dict) else {}
