"""Keys of the model that a stage may have of its own."""

from __future__ import annotations

from typing import Any

from custom_modules.config.schema import Config, TrainingConfig


def value_in_stage(config: TrainingConfig, stage: str, name: str) -> Any:
    """Return a stage's own value of a key, or the model's where the stage has none."""
    own = getattr(config.stages[stage], name)
    return getattr(config.model, name) if own is None else own


def key_in_stage(config: TrainingConfig, stage: str, name: str) -> str:
    """Return the dotted key that `value_in_stage` comes from."""
    is_own = getattr(config.stages[stage], name) is not None
    return f"curriculum.stages.{stage}.{name}" if is_own else f"model.{name}"


def stage_section(config: TrainingConfig, stage: str) -> str:
    """Return the section that has a stage's own keys: ``model`` where a kind of run has one stage and no curriculum."""
    return f"curriculum.stages.{stage}" if isinstance(config, Config) else "model"


def seq_length(config: TrainingConfig, stage: str) -> int:
    """Return the tokens of a stage's sequences; ``model.encoder_seq_length`` is one length for all stages."""
    return config.model.encoder_seq_length or config.stages[stage].encoder_seq_length


def seq_length_key(config: TrainingConfig, stage: str) -> str:
    """Return the dotted key that `seq_length` comes from."""
    given = config.model.encoder_seq_length is not None
    return "model.encoder_seq_length" if given else f"curriculum.stages.{stage}.encoder_seq_length"
