"""Prepared conversations, as `danube sft` reads them. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.chat_manifest import DATASETS, load_chat_manifest
from custom_modules.data.index import Index, open_index
from custom_modules.data.manifest_file import AGAIN
from custom_modules.data.prepared_chats import PreparedChats
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.config.sft import SftConfig


class Samples:
    """The samples of a split, in their order on the disk; mapped into memory, and not read before they are asked for.

    Args:
        folder: of the split: two Megatron indexed datasets, ``tokens`` and ``answers``, with a sequence a sample.

    Raises:
        UserError: a file is missing, or the two datasets are not of the same samples.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tokens, answers = (open_index(folder / f"{name}.idx", remedy=AGAIN) for name in DATASETS)
        if not np.array_equal(tokens.lengths, answers.lengths):
            raise UserError(f"{answers.path}: not of the samples of {tokens.path.name}; {AGAIN}")
        self.lengths: NDArray[np.int32] = np.array(tokens.lengths, np.int32)
        """[samples], int32: tokens of each."""
        self._starts = np.cumsum(self.lengths, dtype=np.int64) - self.lengths
        self._tokens, self._answers = _mapped(tokens), _mapped(answers)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return a sample.

        Returns:
            [tokens], int64: ids. [tokens], bool: which of them are of an answer, or the end token of one.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        begin = int(self._starts[number])
        end = begin + int(self.lengths[number])
        return self._tokens[begin:end].astype(np.int64), self._answers[begin:end].astype(np.bool_)

    @cached_property
    def answer_tokens(self) -> NDArray[np.int32]:
        """[samples], int32: the tokens of each that are trained on."""
        if not len(self):
            return np.empty(0, np.int32)
        return np.add.reduceat(self._answers, self._starts, dtype=np.int32)


def _mapped(index: Index) -> NDArray[Any]:
    path = index.path.with_suffix(".bin")
    needed = index.tokens * index.dtype.itemsize
    size = path.stat().st_size if path.is_file() else None
    if size != needed:
        there = "missing" if size is None else f"{size} bytes, but its index needs {needed}"
        raise UserError(f"{path}: {there}; {AGAIN}")
    return np.memmap(path, index.dtype, mode="r") if needed else np.empty(0, index.dtype)


@dataclass(frozen=True)
class Conversations(PreparedChats):
    """All that `danube prepare` left for a run of SFT."""

    train: Samples
    validation: Samples

    @property
    def base_sha256(self) -> str:
        return self.manifest.tokenizer.base_sha256

    @property
    def eos_id(self) -> int:
        return self.manifest.tokenizer.eos_id

    @property
    def pad_id(self) -> int:
        return self.manifest.tokenizer.pad_id

    @property
    def vocab_size(self) -> int:
        return self.manifest.tokenizer.vocab_size


def load_conversations(config: SftConfig) -> Conversations:
    """Open what is prepared in ``data.dir``.

    Raises:
        UserError: nothing is, something else is, it is damaged, or cut to another length than the config's.
    """
    manifest = load_chat_manifest(config.data.dir, "conversations", config.model.encoder_seq_length)
    splits = {}
    for split in ("train", "validation"):
        samples = Samples(manifest.directory / split)
        if len(samples) != manifest.splits[split].samples:
            said = manifest.splits[split].samples
            raise UserError(f"{samples.folder}: {len(samples)} samples, but the manifest says {said}; {AGAIN}")
        splits[split] = samples
    return Conversations(manifest, splits["train"], splits["validation"])
