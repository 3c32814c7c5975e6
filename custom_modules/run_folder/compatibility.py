"""Whether a run may go on from a checkpoint: with the config, the tokenizer and the data that it was made with."""

from __future__ import annotations

from custom_modules.config.kinds import kind_name
from custom_modules.config.marks import Shape, marked, may_change
from custom_modules.config.schema import BEHAVIOUR, MODEL_SHAPE, Config, ModelConfig, TrainingConfig
from custom_modules.config.sft import SFT, SftConfig
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.text import flatten

_OF_CARRIED_OPTIMIZER = ("trainer.precision", "model.optim.name")
"""What the form of an optimizer's state follows from, which `danube remap-tokenizer` may carry over."""


def check_resumable(config: Config, curriculum: Curriculum, manifest: Manifest, checkpoint: Checkpoint) -> None:
    """Refuse to continue a checkpoint under a config that contradicts it.

    With the weights of a conversion nothing is trained yet: only what they are the weights of is compared.

    Raises:
        UserError: every difference, as ``key: checkpoint -> config``, in one line that says how to begin anew, with
            the checkpoint's weights where that is possible.
    """
    check_config(config, checkpoint)
    if checkpoint.tokenizer_sha256 != manifest.tokenizer_sha256:
        raise UserError(
            f"{checkpoint.path}: trained with tokenizer {checkpoint.tokenizer_sha256}, but {manifest.path} was "
            f"prepared with {manifest.tokenizer_sha256}; set data.dir to the data it was trained on, or give it that "
            "tokenizer with `danube remap-tokenizer`"
        )
    trained = checkpoint.progress.data
    for stage in curriculum.stages:
        if stage.name in trained and trained[stage.name] != manifest.digest(stage.name, config.teachers):
            raise UserError(
                f"{checkpoint.path}: {stage.name} was trained on other data{_or_teachers(config)} than {manifest.path} "
                "now has, so its position means nothing there; set data.dir to the data it was trained on, or another "
                f"exp_manager.name to start anew{_with_weights(checkpoint, config)}"
            )


def check_samples(config: SftConfig, digest: str, is_step: bool, checkpoint: Checkpoint) -> None:
    """Refuse to continue a run over samples under another config or on other samples.

    Args:
        digest: of the training samples that are there.
        is_step: whether one of their steps ends where the checkpoint is.

    Raises:
        UserError: as `check_resumable`.
    """
    check_config(config, checkpoint)
    if checkpoint.progress.data.get(SFT) != digest or not is_step:
        raise UserError(
            f"{checkpoint.path}: trained on other samples than data.dir={config.data.dir} now has, so its position "
            "means nothing there; set data.dir to the data it was trained on, or another exp_manager.name to start "
            f"anew{_with_weights(checkpoint, config)}"
        )


def check_config(config: TrainingConfig, checkpoint: Checkpoint) -> None:
    """Refuse a config that contradicts a checkpoint's.

    Raises:
        UserError: every difference, as `check_resumable` has it, or that they are of different kinds of run.
    """
    there = checkpoint.config()
    if type(there) is not type(config):
        kind = kind_name(checkpoint.plain_config)
        raise UserError(
            f"{checkpoint.path}: of a run of `danube {kind}`; set another exp_manager.name, with model."
            f"restore_from_path={checkpoint.path} to begin with its weights"
        )
    saved = dict(flatten(there.model_dump(mode="json")))
    now = dict(flatten(config.model_dump(mode="json")))
    changed = [key for key in sorted(saved.keys() | now.keys()) if saved.get(key) != now.get(key)]
    kept = [key for key in changed if not may_change(type(config), key)]
    if not checkpoint.consumed_tokens:
        of_weights = _of_weights(config, checkpoint)
        kept = [key for key in kept if key in of_weights]
    if kept:
        said = "; ".join(f"{key}: {saved.get(key)} -> {now.get(key)}" for key in kept)
        raise UserError(
            f"{checkpoint.path}: the config contradicts the checkpoint (checkpoint -> config): {said}; take them "
            f"back, or set another exp_manager.name to start anew{_with_weights(checkpoint, config)}"
        )


def _or_teachers(config: Config) -> str:
    return " or other rows and texts of its teachers" if config.teachers else ""


def _of_weights(config: TrainingConfig, checkpoint: Checkpoint) -> set[str]:
    """Return the keys that, with another value, make another model of a checkpoint of which nothing is trained yet."""
    there, here = checkpoint.config().model, config.model
    shapes = {key: mark.resolved or key for key, mark in marked(ModelConfig, Shape).items()}
    other_shape = [key for key, resolved in shapes.items() if getattr(there, resolved) != getattr(here, resolved)]
    optimizer = () if checkpoint.weights_only else _OF_CARRIED_OPTIMIZER
    return {*(f"model.{key}" for key in (*other_shape, *BEHAVIOUR)), *optimizer}


def _with_weights(checkpoint: Checkpoint, config: TrainingConfig) -> str:
    """Word how a new run begins with a checkpoint's weights; nothing where they are another model's."""
    there, here = checkpoint.config().model, config.model
    if any(getattr(there, name) != getattr(here, name) for name in MODEL_SHAPE):
        return ""
    return f", with model.restore_from_path={checkpoint.path} to begin with its weights"
