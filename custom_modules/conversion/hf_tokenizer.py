"""A tokenizer as a Hugging Face folder holds it, such that `AutoTokenizer` encodes exactly as training did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.exported import config_json, with_control_tokens
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
    content = with_control_tokens(tokenizer.to_json(), tokenizer.control_tokens())
    _write(folder / "tokenizer.json", content)
    _write(folder / "tokenizer_config.json", {**config_json(tokenizer), "model_max_length": max_length})
    if tokenizer.library == "sentencepiece":
        shutil.copyfile(tokenizer.path, folder / FILES[tokenizer.library])


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
