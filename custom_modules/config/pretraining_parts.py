"""Sections of pre-training alone: its stages, and what a report says of its speed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from custom_modules.config.marks import MayChange
from custom_modules.config.model_parts import Granularity, Method, RecomputeModule
from custom_modules.config.sections import PositiveFloat, PositiveInt, Section, WithoutNull


class StageConfig(Section):
    tokens: PositiveInt
    encoder_seq_length: PositiveInt
    global_batch_tokens: PositiveInt | None = None
    """The batch of this stage instead of ``model.global_batch_tokens``; the next six stand for the model's keys
    likewise."""
    micro_batch_size: Annotated[PositiveInt | None, MayChange()] = None
    micro_batch_tokens: Annotated[PositiveInt | None, MayChange()] = None
    activations_checkpoint_granularity: Annotated[Granularity | None, MayChange()] = None
    activations_checkpoint_method: Annotated[Method | None, MayChange()] = None
    activations_checkpoint_num_layers: Annotated[PositiveInt | None, MayChange()] = None
    recompute_modules: Annotated[Annotated[list[RecomputeModule], Field(min_length=1)] | None, MayChange()] = None
    mix: Annotated[dict[str, PositiveFloat], WithoutNull, Field(min_length=1)] | None = None
    """Shares of the stage's tokens by source, which add up to 1; null: in proportion to what there is of each."""
    reported_mix: Annotated[dict[str, PositiveFloat], MayChange()] = Field(default={})
    """The shares that a paper gives, for the data card to set beside those that are trained."""


class CurriculumConfig(Section):
    stage: Annotated[str | None, MayChange()]
    stages: Annotated[dict[str, StageConfig], WithoutNull, Field(min_length=1)]


class ReportedConfig(Section):
    """The speed that a paper gives, to plan with and to set beside what is measured."""

    tokens_per_second: PositiveInt | None = None
    """The mean over a whole run, of all its devices."""
    days: PositiveFloat | None = None
    """What a whole run took on all its devices, where the paper gives no speed."""
    gpus: PositiveInt
    gpu: str
    section: str
    """Where the paper says so."""
    recipe: str | None
    """The recipe of that run; null: this run's own model and curriculum."""
