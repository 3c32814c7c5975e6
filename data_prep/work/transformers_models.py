"""What classifiers and sentence encoders share: transformers without its noise, padding, and the device."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from custom_modules.errors import UserError

CHARACTERS_A_TOKEN = 32
"""More of a long text than its tokens times this is not even tokenized."""


def find_device(name: str) -> torch.device:
    """
    Raises:
        UserError: torch has no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"device={name}: torch finds no such device here; use cpu") from None
    return device


def share_cores() -> None:
    """Compute with one thread if this is a worker: there is one for every core."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)


def padded(ids: Sequence[NDArray[Any]], length: int, pad_id: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, [texts, length], int64."""
    rows = np.full((len(ids), length), pad_id, np.int64)
    mask = np.zeros_like(rows)
    mask[:, 0] = 1  # a row without any token would be no number
    for row, each in enumerate(ids):
        rows[row, : len(each)] = each
        mask[row, : len(each)] = 1
    return torch.from_numpy(rows).to(device), torch.from_numpy(mask).to(device)


def saved_tokenizer(folder: Path, where: str, remedy: str = "") -> Any:
    """transformers' AutoTokenizer from a local folder; nothing is asked of any hub.

    Args:
        where: how an error begins.
        remedy: how it ends.

    Raises:
        UserError: there is none.
    """
    problem = "none of its files is there"
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        # Without files transformers makes a tokenizer of special tokens only.
        if any((folder / name).is_file() for name in tokenizer.vocab_files_names.values()):
            return tokenizer
    except Exception as error:
        problem = short(error)
    raise UserError(f"{where}: transformers cannot load a tokenizer from it ({problem}); put its files there{remedy}")


def short(error: Exception) -> str:
    """The first words of a message, on one line."""
    return " ".join(str(error).split())[:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings: what matters of them is an error here."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
