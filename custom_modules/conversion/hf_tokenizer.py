"""A tokenizer as a Hugging Face folder holds it, such that `AutoTokenizer` encodes exactly as training did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES

ONLY_SENTENCEPIECE = "sentencepiece"
"""The subfolder for a model that no tokenizer.json equals; beside config.json transformers would convert it wrongly."""


def write_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, and the SentencePiece model where there is one.

    A model that no tokenizer.json equals goes alone into `ONLY_SENTENCEPIECE`, and AutoTokenizer finds nothing.

    A control token's text is that token, unlike in training, since chat templates write ``</s>`` as text; of a
    SentencePiece model what stands between two of them is encoded as a document of its own. Nothing is added to a text.
    As bos the eos is named, since a document followed one in training; see
    `custom_modules.conversion.hf_config.config_json`.

    Args:
        max_length: of a sequence, in tokens; for ``model_max_length``.
    """
    if tokenizer.not_as_json:
        (folder / ONLY_SENTENCEPIECE).mkdir()
        shutil.copyfile(tokenizer.path, folder / ONLY_SENTENCEPIECE / FILES[tokenizer.library])
        return
    control, eos = tokenizer.control_tokens(), tokenizer.token(tokenizer.eos_id)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": eos,
        "eos_token": eos,
        "unk_token": None if tokenizer.unk_id is None else control.get(tokenizer.unk_id),
        "pad_token": tokenizer.token(padding_id(tokenizer)),
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": max_length,
    }
    _write(folder / "tokenizer.json", _with_control_tokens(tokenizer.to_json(), control))
    _write(folder / "tokenizer_config.json", config)
    if tokenizer.library == "sentencepiece":
        shutil.copyfile(tokenizer.path, folder / FILES[tokenizer.library])


def padding_id(tokenizer: Tokenizer) -> int:
    """The token that fills batches: one that no loss is wanted of, so the end of text only where there is no other."""
    control = tokenizer.control_tokens()
    preferred = (tokenizer.unk_id, tokenizer.pad_id, tokenizer.bos_id, *control)
    return next((index for index in preferred if index in control and index != tokenizer.eos_id), tokenizer.eos_id)


def _with_control_tokens(content: dict[str, Any], control: Mapping[int, str]) -> dict[str, Any]:
    """A tokenizer.json that finds these tokens in a text, wherever they stand, before anything is done to it."""
    added = {token["id"]: token for token in content["added_tokens"]}
    for index, text in control.items():
        spaces = {"lstrip": False, "rstrip": False} | added.get(index, {})
        anywhere = {"single_word": False, "normalized": False, "special": True}
        added[index] = {**spaces, "id": index, "content": text, **anywhere}
    return {**content, "added_tokens": [added[index] for index in sorted(added)]}


def read_tokenizer(folder: Path, library: str) -> Tokenizer:
    """The tokenizer of a Hugging Face folder, as `load_tokenizer` has it.

    Raises:
        UserError: there is none of that library.
    """
    file = FILES[library]
    for place in (folder, folder / ONLY_SENTENCEPIECE):
        if (place / file).is_file():
            return load_tokenizer(library, place)
    other = next((name for name in FILES if name != library and (folder / FILES[name]).is_file()), None)
    advice = f"set model.tokenizer.library={other}" if other else "put the model's there"
    raise UserError(f"{folder}: no {file}, though model.tokenizer.library={library}; {advice}")


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
