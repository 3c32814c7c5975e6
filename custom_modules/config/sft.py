"""Names and types of every config key of supervised fine-tuning (section 6.1 of Danube's report)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from custom_modules.config.chat_data import SampleDataConfig
from custom_modules.config.marks import MayChange
from custom_modules.config.model_parts import SftModelConfig
from custom_modules.config.pretraining_parts import StageConfig
from custom_modules.config.schema import TrainerConfig, TrainingConfig
from custom_modules.config.sections import PositiveInt

SFT = "sft"
"""The name of the only stage."""


class SftTrainerConfig(TrainerConfig):
    max_epochs: PositiveInt
    """How often every sample is trained on."""


class SftConfig(TrainingConfig):
    """A fine-tuning run: every layer is trained on samples of different lengths, whose answers alone count."""

    base: ClassVar[str] = "base_sft"

    kind: Literal["sft"]
    pretrained: Annotated[str | None, MayChange()]
    """The recipe of the model that is trained on, which gives the keys of its architecture; null: they are given."""
    trainer: SftTrainerConfig
    model: SftModelConfig
    data: Annotated[SampleDataConfig, MayChange()]
    """Compared by its contents."""

    def warmup_tokens(self, total_tokens: int) -> int:
        return round(self.model.optim.sched.warmup_epochs / self.trainer.max_epochs * total_tokens)

    @property
    def stages(self) -> Mapping[str, StageConfig]:
        """One stage, as if every sample were as long as any may be: what is checked and planned holds for all steps.

        Its tokens are those of the samples that ``data.sources`` asks for, or of one step where it does not say.
        """
        samples = self.data.expected_samples or self.model.global_batch_size
        steps = self.trainer.max_epochs * -(-samples // self.model.global_batch_size)
        length = self.model.encoder_seq_length
        return {SFT: StageConfig(tokens=steps * self.model.global_batch_tokens, encoder_seq_length=length)}
