"""Loading a tokenizer by ``model.tokenizer.library`` and its path."""

from __future__ import annotations

import shutil
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.files import readable
from custom_modules.tokenizer.base import Tokenizer

FILES = {"sentencepiece": "tokenizer.model", "huggingface": "tokenizer.json"}
"""The file's usual name, by library."""


def load_tokenizer(library: str, path: Path) -> Tokenizer:
    """Read a tokenizer.

    Args:
        library: ``sentencepiece`` or ``huggingface``.
        path: its file, or a folder that has it under its usual name.

    Raises:
        UserError: it is missing, damaged, or has no token that ends a document.
    """
    with readable(path):
        return _load(library, path)


def _load(library: str, path: Path) -> Tokenizer:
    file = path / FILES[library] if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"model.tokenizer.model={path}: no {file.name if path.is_dir() else 'such file'} there; give a "
            f"{FILES[library]} or a folder with one"
        )
    if library == "sentencepiece":
        from custom_modules.tokenizer.sentencepiece_tokenizer import SentencePieceTokenizer

        return SentencePieceTokenizer(file)
    from custom_modules.tokenizer.huggingface_tokenizer import HuggingFaceTokenizer

    return HuggingFaceTokenizer(file)


def copy_tokenizer(tokenizer: Tokenizer, folder: Path) -> Path:
    """Copy the files that `load_tokenizer` needs, under their usual names, into an existing folder.

    Returns:
        The copy's path, for `load_tokenizer`.
    """
    copy = folder / FILES[tokenizer.library]
    shutil.copyfile(tokenizer.path, copy)
    for companion in tokenizer.files[1:]:
        shutil.copyfile(companion, folder / companion.name)
    return copy
