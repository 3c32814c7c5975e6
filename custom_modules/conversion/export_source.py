"""What an export is made of: a checkpoint's config, tokenizer and weights, and whether its files are as written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer, is_chat_folder
from custom_modules.config.schema import TrainingConfig
from custom_modules.conversion.dist_reader import DistReader
from custom_modules.conversion.layout import blocks
from custom_modules.conversion.streams import AHEAD
from custom_modules.errors import UserError
from custom_modules.one_thread import Answer, OneThread
from custom_modules.read_ahead import read_ahead
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.best import describe_best
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.tokenizer import Tokenizer, load_tokenizer

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class ExportSource:
    """A checkpoint that is exported.

    Attributes:
        chat: the tokenizer with the prompt format that the run was trained with; None if it saw no conversations.
        dtype: what its weights are to have.
    """

    checkpoint: Checkpoint
    config: TrainingConfig
    tokenizer: Tokenizer
    chat: ChatTokenizer | None
    reader: DistReader
    dtype: torch.dtype

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor by Hugging Face's name, in the order that `tensors` gives them in."""
        return {name: shape for block in blocks(self.config.model) for name, shape in block.parts.items()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights under Hugging Face's names, in the stored dtype, one block at a time.

        Raises:
            UserError: one cannot be read.
        """
        every = blocks(self.config.model)
        for block, tensor in zip(every, read_ahead(self.reader.read, blocks(self.config.model), AHEAD), strict=True):
            yield from zip(block.parts, block.split(tensor), strict=True)

    def verify_meanwhile(self) -> Answer[Checkpoint]:
        """Compare the contents of its files with their hashes, in a thread that no failure waits for."""
        return OneThread.for_one(checkpoint_files.open_checkpoint, self.checkpoint.path)


def open_source(source: Path, dtype: str | None) -> ExportSource:
    """Open what is to be exported; its contents are compared with their hashes later, by `verify_meanwhile`.

    Args:
        source: a checkpoint folder, or a run folder for its newest one.
        dtype: ``bf16`` or ``fp32``; None for the weights' own: ``trainer.precision``'s.

    Raises:
        UserError: the checkpoint is missing or damaged, of several dtypes where None is given, or its tokenizer is of
            another run.
    """
    checkpoint = checkpoint_files.resolve(source, verify_contents=False)
    if checkpoint.path != source and (best := describe_best(source)):
        print(f"{checkpoint.path} is the newest; {best}", file=sys.stderr)
    config = checkpoint.config()
    tokenizer = load_tokenizer(config.model.tokenizer.library, checkpoint.tokenizer)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise UserError(
            f"{tokenizer.path}: {tokenizer.vocab_size} tokens, but the checkpoint's model.vocab_size is "
            f"{config.model.vocab_size}; they are of different runs"
        )
    reader = DistReader(checkpoint.dist)
    stored = reader.check(config.model)
    if len(stored) > 1 and dtype is None:
        raise UserError(f"{checkpoint.dist}: weights of several dtypes ({', '.join(map(str, stored))}); give --dtype")
    chat = ChatTokenizer.load(checkpoint.tokenizer) if is_chat_folder(checkpoint.tokenizer) else None
    return ExportSource(checkpoint, config, tokenizer, chat, reader, DTYPES[dtype] if dtype else stored.pop())
