"""``model.restore_from_path``: the weights that a new run begins with."""

from __future__ import annotations

from pathlib import Path

from custom_modules.config.schema import BEHAVIOUR, MODEL_SHAPE, TrainingConfig
from custom_modules.config.sft import SftConfig
from custom_modules.data.conversations import Conversations
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint, resolve


def find_base(config: TrainingConfig, manifest: Manifest, verify_contents: bool = True) -> Checkpoint | None:
    """The checkpoint whose weights a run without checkpoints begins with; None: its own initial ones.

    Args:
        verify_contents: compare every file's SHA-256 too, not only its size.

    Raises:
        UserError: there is none, or its weights are another model's or another tokenizer's.
    """
    return find_weights(
        config,
        manifest.tokenizer_sha256,
        f"the one that {manifest.path} was prepared with, {manifest.tokenizer_sha256}; give it that with `danube "
        "remap-tokenizer`",
        verify_contents,
    )


def find_pretrained(config: SftConfig, conversations: Conversations, verify_contents: bool = True) -> Checkpoint:
    """Return the checkpoint whose weights a fine-tuning run without checkpoints begins with.

    Args:
        verify_contents: compare every file's SHA-256 too, not only its size.

    Raises:
        UserError: none is given, it is none, or its weights are another model's or another tokenizer's.
    """
    tokenizer = (
        f"the one that the conversations in {conversations.path} were prepared with, {conversations.base_sha256}; "
        "prepare them with that of the model (model.tokenizer)"
    )
    found = find_weights(config, conversations.base_sha256, tokenizer, verify_contents)
    if found is None:
        raise UserError(
            "model.restore_from_path=null: there is no model to fine-tune; give a run or a checkpoint, or what `danube "
            "convert from-hf` made"
        )
    return found


def find_weights(
    config: TrainingConfig, tokenizer_sha256: str, tokenizer: str, verify_contents: bool = True
) -> Checkpoint | None:
    """Do that for a run of any kind.

    Args:
        tokenizer_sha256: of the tokenizer that the model must have.
        tokenizer: what that is, and what to do where the model has another, to end a message with.
    """
    key = f"model.restore_from_path={config.model.restore_from_path}"
    if config.model.restore_from_path is None:
        return None
    try:
        base = resolve(Path(config.model.restore_from_path), verify_contents)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    trained = base.config().model
    for name in MODEL_SHAPE:
        there, here = getattr(trained, name), getattr(config.model, name)
        if there != here:
            raise UserError(f"{key}: model.{name} is {there} there, but {here} here; give a model of this shape")
    if base.tokenizer_sha256 != tokenizer_sha256:
        raise UserError(f"{key}: its tokenizer {base.tokenizer_sha256} is not {tokenizer}")
    return base


def changes(config: TrainingConfig, base: Checkpoint) -> list[str]:
    """What the run changes of the function that the weights were trained as, as ``key: there -> here``."""
    trained = base.config().model
    pairs = [(name, getattr(trained, name), getattr(config.model, name)) for name in BEHAVIOUR]
    return [f"model.{name}: {there or 'null'} -> {here or 'null'}" for name, there, here in pairs if there != here]
