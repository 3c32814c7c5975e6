"""The tokenizer with the prompt format, as ``model.tokenizer`` or what a run begins with has it."""

from __future__ import annotations

import json
from pathlib import Path

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer, is_chat_folder
from custom_modules.config.dpo import DpoConfig
from custom_modules.config.sft import SftConfig
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint, resolve

_BASE = "base.json"
"""The file of a DPO run's checkpoint that says which export its adapter is of."""


def find_tokenizer(config: SftConfig | DpoConfig) -> ChatTokenizer:
    """Return the tokenizer that the samples are encoded with.

    Raises:
        UserError: there is none, it cannot hold the prompt format, or it has more tokens than the model.
    """
    found = _find(config)
    if found.vocab_size > config.model.vocab_size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size}: the tokenizer has {found.vocab_size} tokens; give that of "
            "this model with model.tokenizer.model"
        )
    return found


def _find(config: SftConfig | DpoConfig) -> ChatTokenizer:
    given, start = config.model.tokenizer, config.model.restore_from_path
    if given.model is not None:
        folder = Path(given.model)
        return ChatTokenizer.load(folder) if is_chat_folder(folder) else ChatTokenizer.from_file(given.library, folder)
    if start is None:
        raise UserError(
            "model.tokenizer.model=null: give the pre-trained model's tokenizer, or model.restore_from_path"
        )
    if is_chat_folder(Path(start)):
        return ChatTokenizer.load(Path(start))
    try:
        checkpoint = resolve(Path(start), verify_contents=False)
    except UserError as error:
        raise UserError(
            f"model.restore_from_path={start}: {error}; it is there that the tokenizer is looked for, unless "
            "model.tokenizer.model names it"
        ) from None
    return _of_checkpoint(checkpoint)


def _of_checkpoint(checkpoint: Checkpoint) -> ChatTokenizer:
    if is_chat_folder(checkpoint.tokenizer):
        return ChatTokenizer.load(checkpoint.tokenizer)
    if (checkpoint.path / _BASE).is_file():
        return ChatTokenizer.load(Path(json.loads((checkpoint.path / _BASE).read_bytes())["export"]))
    library = checkpoint.plain_config["model"]["tokenizer"]["library"]
    return ChatTokenizer.from_file(str(library), checkpoint.tokenizer)
