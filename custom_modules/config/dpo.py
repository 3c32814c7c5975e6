"""Names and types of every config key of direct preference optimisation with LoRA (section 6.2 of Danube's report)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from custom_modules.config.chat_data import ChatDataConfig
from custom_modules.config.marks import MayChange
from custom_modules.config.model_parts import (
    AdamConfig,
    ArchitectureConfig,
    EpochSchedConfig,
    SampleBatchConfig,
    TokenizerConfig,
)
from custom_modules.config.schema import DevicesConfig, RunConfig
from custom_modules.config.sections import Float, Int, PathText, PositiveFloat, PositiveInt, Section


class DpoTrainerConfig(DevicesConfig):
    max_epochs: PositiveInt
    """How often every pair is trained on."""
    log_every_n_samples: Annotated[PositiveInt, MayChange()]
    val_every_n_samples: Annotated[PositiveInt, MayChange()]
    deterministic: Annotated[bool, MayChange()]


class DpoCheckpointConfig(Section):
    every_n_train_samples: PositiveInt
    save_last_n: PositiveInt


class DpoFolderConfig(Section):
    exp_dir: PathText
    name: PathText
    create_tensorboard_logger: bool
    checkpoint_callback_params: DpoCheckpointConfig


class LoraConfig(Section):
    adapter_dim: PositiveInt
    """The rank r."""
    alpha: PositiveFloat
    adapter_dropout: Annotated[Float, Field(ge=0, lt=1)]


class PeftConfig(Section):
    peft_scheme: Literal["lora"]
    lora_tuning: LoraConfig


class PreferenceConfig(Section):
    ref_policy_kl_penalty: PositiveFloat
    """Beta: how much staying near the reference counts."""


class DpoOptimConfig(AdamConfig):
    name: Literal["adamw"]
    sched: EpochSchedConfig


class DpoModelConfig(SampleBatchConfig, ArchitectureConfig):
    """A model to align. Its samples are pairs of answers to a prompt."""

    restore_from_path: Annotated[PathText | None, MayChange()]
    """An exported folder, or a DPO run."""
    seed: Annotated[Int, Field(ge=0, lt=2**31)]
    tokenizer: Annotated[TokenizerConfig, MayChange()]
    """Compared by its contents."""
    activations_checkpoint_granularity: Annotated[Literal["full"] | None, MayChange()]
    peft: PeftConfig
    dpo: PreferenceConfig
    optim: DpoOptimConfig


class DpoConfig(RunConfig):
    """A run of direct preference optimisation: adapters are trained, on pairs of answers."""

    base: ClassVar[str] = "base_dpo"

    kind: Literal["dpo"]
    pretrained: Annotated[str | None, MayChange()]
    """The recipe of the model that is trained on, which gives the keys of its architecture; null: they are given."""
    trainer: DpoTrainerConfig
    exp_manager: Annotated[DpoFolderConfig, MayChange()]
    model: DpoModelConfig
    data: Annotated[ChatDataConfig, MayChange()]
    """Compared by its contents."""

    @property
    def run_dir(self) -> Path:
        return Path(self.exp_manager.exp_dir) / self.exp_manager.name
