"""A teacher: any causal language model of a local Hugging Face folder, with its tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from custom_modules.conversion.hf_tokenizer import ONLY_SENTENCEPIECE
from custom_modules.conversion.local_model import load_model
from custom_modules.errors import UserError
from custom_modules.files import readable
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES

LONGEST = 4_096
"""Tokens that a teacher reads at a time, where its own positions reach further (assumed)."""
_SHORTEST = 2
_WEIGHTS = (".safetensors", ".bin")
_COMPARED = 1 << 20
"""Bytes at both ends of a file of weights that are compared; the whole of 13B parameters would take minutes."""


@dataclass(frozen=True)
class TeacherFolder:
    """A teacher before its weights are loaded.

    Attributes:
        path: its folder.
        tokenizer: its own.
        digest: identifies config, tokenizer and weights.
    """

    path: Path
    tokenizer: Tokenizer
    digest: str

    @property
    def first_id(self) -> int:
        """The token that begins a document: bos, or eos where it names none, as GPT-2 was trained."""
        bos_id = self.tokenizer.bos_id
        return self.tokenizer.eos_id if bos_id is None else bos_id


@dataclass(frozen=True)
class Teacher:
    """A teacher with its weights on a device.

    Attributes:
        folder: where it is from.
        model: transformers' causal language model.
        longest: tokens that it reads at a time.
    """

    folder: TeacherFolder
    model: Any
    device: torch.device
    longest: int


def open_teacher(path: Path) -> TeacherFolder:
    """Look at a teacher's folder.

    Raises:
        UserError: it is no Hugging Face folder, or has no tokenizer that can be read.
    """
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path}: no config.json there; give the local folder of a Hugging Face causal language model (nothing is "
            "downloaded)"
        )
    for library, folder in (
        ("sentencepiece", path),
        ("sentencepiece", path / ONLY_SENTENCEPIECE),
        ("huggingface", path),
    ):
        if (folder / FILES[library]).is_file():
            with readable(path):
                return TeacherFolder(path, load_tokenizer(library, folder), _digest(path))
    raise UserError(f"{path}: neither {' nor '.join(FILES.values())} there; put the teacher's own tokenizer there")


def load_teacher(folder: TeacherFolder, device: torch.device, length: int | None) -> Teacher:
    """Load a teacher's weights.

    Args:
        length: tokens that it reads at a time; None: as many as it has positions for, at most `LONGEST`.

    Raises:
        UserError: transformers cannot load it without the folder's own code, it has no row for a token of its
            tokenizer, or it does not read so many tokens.
    """
    try:
        model: Any = load_model(folder.path)
    except UserError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder.path}: transformers cannot load it as a causal language model ({reason})") from None
    size = int(model.get_output_embeddings().weight.shape[0])
    if size < folder.tokenizer.vocab_size:
        raise UserError(
            f"{folder.path}: its tokenizer has {folder.tokenizer.vocab_size} tokens, its model {size}; put the "
            "tokenizer there that the model was made with"
        )
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if length is not None and (length < _SHORTEST or (positions and length > positions)):
        raise UserError(f"--length {length}: {folder.path} reads {_SHORTEST} to {positions or 'any number of'} tokens")
    longest = length or min(positions or LONGEST, LONGEST)
    return Teacher(folder, model.to(device), device, longest)


def _digest(path: Path) -> str:
    whole = hashlib.sha256()
    for part in _identifying(path):
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()


def _identifying(path: Path) -> Iterator[bytes]:
    for name in ("config.json", *FILES.values()):
        if (path / name).is_file():
            yield name.encode()
            yield (path / name).read_bytes()
    for file in sorted(file for file in path.iterdir() if file.suffix in _WEIGHTS):
        size = file.stat().st_size
        yield f"{file.name} {size}".encode()
        with file.open("rb") as stream:
            yield stream.read(_COMPARED)
            stream.seek(max(0, size - _COMPARED))
            yield stream.read(_COMPARED)
