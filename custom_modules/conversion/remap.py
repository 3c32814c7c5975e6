"""`danube remap-tokenizer`: a checkpoint whose embedding and head are those of another vocabulary."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from custom_modules.config.load import validate
from custom_modules.config.marks import ChangesWithTokenizer, marked
from custom_modules.config.schema import BEHAVIOUR, MODEL_SHAPE, Config, ModelConfig
from custom_modules.conversion.dist_reader import DistReader
from custom_modules.conversion.dist_writer import write_dist
from custom_modules.conversion.first_checkpoint import write_first_checkpoint
from custom_modules.conversion.layout import OPTIMIZER, Block, blocks, optimizer_blocks
from custom_modules.errors import UserError
from custom_modules.files import whole_folder
from custom_modules.model.initial_distribution import draw
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES
from custom_modules.tokenizer.vocabulary import Kind, Token, match, unused

TOKEN_MAP = "token_map.json"

SAME_MODEL = [key for key in (*MODEL_SHAPE, *BEHAVIOUR) if key not in marked(ModelConfig, ChangesWithTokenizer)]
"""What the new run must share with the checkpoint. The window may go, as it did in Danube2 (section 7)."""

MOMENTS = ("exp_avg", "exp_avg_sq")
MASTER_WEIGHTS = ("param", "fp32_param")
"""The weights in fp32, as the distributed optimizer and the plain one call them."""


def remap_tokenizer(
    source: Path,
    output: Path,
    new: Path,
    old: Path | None = None,
    config: Config | None = None,
    carry_optimizer: bool = False,
    seed: int | None = None,
) -> Path:
    """Write the checkpoint of a run that has read nothing yet, for another tokenizer: Danube2's start (section 7).

    In embedding and head the rows of tokens that both vocabularies have are copied (see `match`), and the others drawn
    from the initial distribution. Every other weight stays as it is. Tensors are read and written one at a time.

    The clock starts at 0: a position in the old tokenizer's data means nothing in the new one's. With
    ``carry_optimizer`` Adam's moments of copied rows come along, those of drawn rows are 0, and its step count, which
    corrects the moments' bias, is kept; the learning rate and the other settings are the new run's. FP8's scaling
    factors and the RNG states are never carried.

    Args:
        source: a checkpoint folder, or a run folder for its newest one.
        output: the new run's folder; it appears whole or not at all.
        new: the tokenizer's file or folder.
        old: the tokenizer that the checkpoint must carry; None to take it as it is.
        config: the new run's; None for the checkpoint's own, with ``model.vocab_size`` and ``model.tokenizer`` changed.
        seed: of the drawn rows; None for ``model.seed``.

    Returns:
        The checkpoint's folder. `TOKEN_MAP` is beside it.

    Raises:
        UserError: the checkpoint is damaged, of another model than the config, or without the optimizer state to
            carry; a tokenizer is missing, not the checkpoint's, or of a kind that cannot be compared; the output is
            there, or cannot be written.
    """
    if output.exists():
        raise UserError(f"{output}: already there; give another folder, or remove it first")
    checkpoint = checkpoint_files.resolve(source)
    before = checkpoint.config()
    if not isinstance(before, Config):
        raise UserError(f"{checkpoint.path}: not of pre-training; a model that was fine-tuned keeps its tokenizer")
    old_tokenizer = _own_tokenizer(checkpoint, before, old)
    new_tokenizer = load_tokenizer(config.model.tokenizer.library if config else _library(new), new)
    after = _new_config(config, before, new_tokenizer)
    _check_same_model(checkpoint, before, after)
    seed = after.model.seed if seed is None else seed
    tokens = _rows(new_tokenizer, after.model)
    old_ids = match(_rows(old_tokenizer, before.model), tokens)
    reader = DistReader(checkpoint.dist)
    dtype = _dtype(reader, before.model)
    states = _optimizer_states(reader, before, after) if carry_optimizer else []
    tables = _Tables(reader, before.model, after.model, old_ids, seed)
    counts = _counts(tokens, old_ids)
    target = checkpoint_files.checkpoints_dir(output) / checkpoint_files.folder_name(0)
    with whole_folder(output) as aside:
        folder = aside / target.relative_to(output)
        folder.mkdir(parents=True)
        common = reader.common() if carry_optimizer else {}
        every = chain(blocks(after.model), optimizer_blocks(after.model, states))
        tensors = map(tables.read, every)
        write_first_checkpoint(
            folder,
            after,
            new_tokenizer,
            lambda dist: write_dist(dist, after.model, dtype, tensors, states, common),
            weights_only=not carry_optimizer,
        )
        token_map = {
            "checkpoint": str(checkpoint.path),
            "from": _described(old_tokenizer),
            "to": _described(new_tokenizer),
            "seed": seed,
            "optimizer": "carry" if carry_optimizer else "reset",
            **counts,
            "old_ids": old_ids,
        }
        folder.with_name(TOKEN_MAP).write_text(json.dumps(token_map))
    _say(checkpoint, before, after, counts, seed)
    return target


class _Tables:
    """The tensors of the new checkpoint, made of the old one's.

    Args:
        old_ids: for each row of embedding and head the old row to copy, or None to draw it.
    """

    def __init__(
        self, reader: DistReader, before: ModelConfig, after: ModelConfig, old_ids: Sequence[int | None], seed: int
    ) -> None:
        self._reader, self._before, self._after, self._seed = reader, before, after, seed
        pairs = [(new, old) for new, old in enumerate(old_ids) if old is not None]
        self._new, self._old = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).unbind(1)

    def read(self, block: Block) -> Tensor:
        """A block of the new model, or of what its optimizer keeps: ``block.shape``."""
        if not block.is_padded:
            return self._reader.read(block)
        rows = self._reader.read(replace(block, shape=(self._before.vocab_size, *block.shape[1:])))
        table = self._fresh(block).to(rows.dtype)
        table[self._new] = rows[self._old]
        return table

    def _fresh(self, block: Block) -> Tensor:
        """Draw a table as before training, but under a name of its own: a copied row may still resemble what its old id
        first had."""
        state, _, key = block.key.removeprefix(OPTIMIZER).partition(".")
        if not block.key.startswith(OPTIMIZER):
            key = block.key
        elif state in MOMENTS:
            return torch.zeros(block.shape)
        assert block.initial_std is not None
        return draw(f"remap/{key}", block.shape, block.initial_std, self._seed)


def _library(path: Path) -> str:
    """What a tokenizer's path says of its library; SentencePiece where a folder has both."""
    if path.is_dir():
        return next((library for library, file in FILES.items() if (path / file).is_file()), "sentencepiece")
    return "huggingface" if path.suffix == ".json" else "sentencepiece"


def _own_tokenizer(checkpoint: Checkpoint, config: Config, given: Path | None) -> Tokenizer:
    library = config.model.tokenizer.library
    own = load_tokenizer(library, checkpoint.tokenizer)
    if given is not None and (other := load_tokenizer(library, given)).sha256 != own.sha256:
        raise UserError(
            f"--from {given}: not the tokenizer of {checkpoint.path} (SHA-256 {other.sha256[:12]}..., not "
            f"{own.sha256[:12]}...); leave --from out, or give the checkpoint of that tokenizer"
        )
    return own


def _new_config(config: Config | None, before: Config, tokenizer: Tokenizer) -> Config:
    plain = (config or before).model_dump(mode="json")
    plain["model"]["tokenizer"] = {"library": tokenizer.library, "model": str(tokenizer.path)}
    if config is None:
        plain["model"]["vocab_size"] = tokenizer.vocab_size
    return validate(plain)


def _check_same_model(checkpoint: Checkpoint, before: Config, after: Config) -> None:
    for key in SAME_MODEL:
        old, new = getattr(before.model, key), getattr(after.model, key)
        if old != new:
            key = "kv_channels" if key == "head_dim" else key
            raise UserError(f"model.{key}={new}: {checkpoint.path} has {old}; set model.{key}={old}")


def _rows(tokenizer: Tokenizer, model: ModelConfig) -> list[Token]:
    """What each row of the embedding and the head is for, without padding."""
    if tokenizer.vocab_size > model.vocab_size:
        raise UserError(
            f"{tokenizer.path}: {tokenizer.vocab_size} tokens, but model.vocab_size={model.vocab_size}; "
            f"set model.vocab_size={tokenizer.vocab_size}, or give another tokenizer"
        )
    return [*tokenizer.tokens(), *map(unused, range(tokenizer.vocab_size, model.vocab_size))]


def _dtype(reader: DistReader, model: ModelConfig) -> torch.dtype:
    stored = reader.check(model)
    if len(stored) > 1:
        raise UserError(
            f"{reader.folder}: weights of several dtypes ({', '.join(sorted(map(str, stored)))}); make them one with "
            f"`danube convert to-hf {reader.folder.parent} FOLDER --dtype fp32`, then `danube convert from-hf FOLDER "
            "RUN`, and give RUN"
        )
    return stored.pop()


def _optimizer_states(reader: DistReader, before: Config, after: Config) -> list[str]:
    """What there is to carry, of the shapes and kinds that the new run's optimizer reads."""
    states = reader.optimizer_states(before.model.weights[0].name)
    if not states:
        raise UserError(f"{reader.folder}: it holds weights only, no optimizer state; use --optimizer reset")
    if unknown := [state for state in states if state not in MOMENTS + MASTER_WEIGHTS]:
        raise UserError(f"{reader.folder}: optimizer state {unknown[0]} cannot be carried; use --optimizer reset")
    for key, old, new in (
        ("model.optim.name", before.model.optim.name, after.model.optim.name),
        ("trainer.precision", before.trainer.precision, after.trainer.precision),
    ):
        if old != new:
            raise UserError(f"{key}={new}: {reader.folder} has the optimizer state of {old}; use --optimizer reset")
    for block in optimizer_blocks(before.model, states):
        reader.check_block(block, before.model.num_layers)
    return states


def _counts(tokens: Sequence[Token], old_ids: Sequence[int | None]) -> dict[str, Any]:
    """Count the tokens and those copied, by kind; rows that no token has do not count."""
    counted = [(token.kind, old) for token, old in zip(tokens, old_ids, strict=True) if token.kind is not Kind.UNUSED]
    copied: Counter[Kind] = Counter(kind for kind, old in counted if old is not None)
    by_kind = {kind.value: copied[kind] for kind in Kind if kind in copied}
    return {"tokens": len(counted), "copied": copied.total(), "copied_by_kind": by_kind}


def _described(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "tokenizer": str(tokenizer.path),
        "library": tokenizer.library,
        "sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
    }


def _say(checkpoint: Checkpoint, before: Config, after: Config, counts: dict[str, Any], seed: int) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts["copied_by_kind"].items())
    copied = f"{counts['copied']:,} of {counts['tokens']:,} tokens are in both vocabularies"
    lines = [
        f"{copied}{f' ({kinds})' if kinds else ''}: their rows of embedding and head are copied; the other "
        f"{counts['tokens'] - counts['copied']:,} are drawn from N(0, {after.model.init_method_std:g}), seed {seed}"
    ]
    if before.model.sliding_window != after.model.sliding_window:
        lines.append(
            f"model.sliding_window: {before.model.sliding_window} in {checkpoint.path}, "
            f"{after.model.sliding_window} from here on"
        )
    print("\n".join(lines), file=sys.stderr)
