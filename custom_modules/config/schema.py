"""Names and types of every config key of pre-training, and the parts that other kinds of run share.

Values live in ``nemo_configs/``; what follows from them is derived here. The parts of ``model`` are in `model_parts`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, create_model

from custom_modules.config.distillation import DistillationConfig
from custom_modules.config.evaluate import EvaluateConfig
from custom_modules.config.loss_spike import LossSpikeConfig
from custom_modules.config.marks import Behaviour, MayChange, MustKeep, OneDevice, Shape, marked
from custom_modules.config.model_parts import (
    BatchConfig,
    DividedModelConfig,
    OptimConfig,
    PrecisionConfig,
    RecomputeConfig,
    SftModelConfig,
    TrainedModelConfig,
)
from custom_modules.config.pretraining_parts import CurriculumConfig, ReportedConfig, StageConfig
from custom_modules.config.sections import (
    Float,
    PathText,
    PathTexts,
    PositiveFloat,
    PositiveInt,
    Section,
    WithoutNull,
)
from custom_modules.data_steps.table import DATA_STEPS


def _precision(value: object) -> object:
    aliases = {"bf16": "bf16-mixed", "32": "32-true", 32: "32-true"}
    return aliases.get(value, value) if isinstance(value, (str, int)) else value


class DevicesConfig(Section):
    """The devices of a run of any kind, and what they compute in."""

    accelerator: Annotated[Literal["auto", "gpu", "cpu"], MayChange()]
    devices: Annotated[PositiveInt, MayChange()]
    num_nodes: Annotated[PositiveInt, MayChange()]
    precision: Annotated[Literal["bf16-mixed", "32-true"], BeforeValidator(_precision)]
    cpu_threads: Annotated[PositiveInt | None, MayChange()]
    peak_tflops: Annotated[PositiveFloat | None, MayChange()]

    @property
    def world_size(self) -> int:
        return self.devices * self.num_nodes


class TrainerConfig(DevicesConfig):
    log_every_n_tokens: Annotated[PositiveInt, MayChange()]
    val_every_n_tokens: Annotated[PositiveInt, MayChange()]
    limit_val_tokens: Annotated[PositiveInt, MayChange()]
    dry_run: Annotated[bool | Literal["auto"], MayChange()]
    deterministic: Annotated[bool, MayChange()]


class PretrainerConfig(TrainerConfig):
    evaluate: Annotated[EvaluateConfig | None, MayChange()]
    """Null: no task is scored while the run trains."""


class CheckpointConfig(Section):
    every_n_train_tokens: PositiveInt
    save_last_n: PositiveInt
    keep_every_n_tokens: PositiveInt | None = None
    """Null: none beside the last ones and the ends of stages."""
    monitor: Literal["reduced_train_loss"] | None = None
    """What the best checkpoints have least of; null: they are kept by age alone."""
    save_top_k: PositiveInt | None = None
    """How many of the best of the last stage are kept, beside the newest."""


class FolderConfig(Section):
    """The folder of a run of any kind that trains on megatron-core, and what is kept in it."""

    exp_dir: PathText
    name: PathText
    create_tensorboard_logger: bool
    checkpoint_callback_params: CheckpointConfig


class ExpManagerConfig(FolderConfig):
    loss_spike: LossSpikeConfig | None
    """Null: nothing looks for spikes, and a loss that is not finite ends the run."""


class ModelConfig(TrainedModelConfig, PrecisionConfig, RecomputeConfig, BatchConfig, DividedModelConfig):
    """A model to pre-train. pydantic takes the keys of the last part first."""

    optim: OptimConfig


AnyModelConfig = ModelConfig | SftModelConfig
"""A model of any kind of run that trains all weights on megatron-core."""

MODEL_SHAPE = tuple(mark.resolved or key for key, mark in marked(ModelConfig, Shape).items())
"""The attributes that the shapes of the weights follow from."""

BEHAVIOUR = tuple(marked(ModelConfig, Behaviour))
"""The keys that make another function of the same weights."""

ONE_DEVICE = {key: mark.value for key, mark in marked(ModelConfig, OneDevice).items()}
"""The keys of a model that is not divided over devices, with their values."""


def _step_options(value: object) -> object:
    if value is not None and not isinstance(value, dict):
        raise ValueError("give {} for its defaults, {OPTION: VALUE, ...}, or null")
    return value


StepOptions = Annotated[dict[str, Any] | None, BeforeValidator(_step_options)]
"""A step of `danube prepare`: null, or the options that differ from its defaults; {} for none."""


class _StepsConfig(Section):
    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """The steps that are on, in the order they run, with their options."""
        return {name: options for name, options in self.model_dump().items() if options is not None}


if TYPE_CHECKING:
    StepsConfig = _StepsConfig
else:
    StepsConfig = create_model(
        "StepsConfig", __base__=_StepsConfig, **{step.name: (StepOptions, ...) for step in DATA_STEPS}
    )


class SlurmConfig(Section):
    partition: str | None
    time: str
    cpus_per_task: PositiveInt
    mem_per_cpu_gb: PositiveInt
    sbatch_args: dict[str, str | int]


TEXT = "text"
"""The name of the only source where ``data.input`` is given."""


def _by_source(value: object) -> object:
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers):
        raise ValueError("must be a whole number above 0, or one for each of some sources, as {web: 1, books: 3}")
    return value


class PreparedDataConfig(Section):
    """Where prepared data lies, and how it is read."""

    dir: PathText
    max_epochs: Annotated[int | dict[str, int], BeforeValidator(_by_source), WithoutNull]
    loader: Literal["native", "dali"]
    prefetch_factor: PositiveInt
    reset_attention_mask: Annotated[bool, MustKeep()]
    reset_position_ids: Annotated[bool, MustKeep()]
    eod_mask_loss: Annotated[bool, MustKeep()]

    @property
    def keys_of_documents(self) -> list[str]:
        """Those of the keys above that have a run's documents end somewhere."""
        return [key for key in ("reset_attention_mask", "reset_position_ids", "eod_mask_loss") if getattr(self, key)]

    def max_epochs_of(self, source: str) -> int:
        """Return how often a stage may read a source: once where ``max_epochs`` names others only."""
        return self.max_epochs.get(source, 1) if isinstance(self.max_epochs, dict) else self.max_epochs

    def more_epochs(self, needed: Mapping[str, int]) -> str:
        """Word the change of ``max_epochs`` that lets a stage read each source so often."""
        if isinstance(self.max_epochs, int):
            return f"set data.max_epochs={max(needed.values())}"
        short = {name: number for name, number in needed.items() if number > self.max_epochs_of(name)}
        return "set " + " ".join(f"data.max_epochs.{name}={number}" for name, number in short.items())


class TextConfig(Section):
    """How text becomes prepared data."""

    input: PathTexts | None
    sources: Annotated[dict[str, PathTexts], WithoutNull]
    train_tokenizer: bool
    text_key: str
    url_key: str
    on_error: Literal["skip", "raise"]
    on_damaged_file: Literal["fail", "skip"]
    validation_fraction: Annotated[Float, Field(gt=0, lt=1)]
    steps: StepsConfig
    shard_bytes: PositiveInt
    workers: PositiveInt | None
    executor: Literal["local", "slurm", "ray"]
    slurm: SlurmConfig

    @property
    def source_names(self) -> list[str]:
        """The sources of the training text: those of ``data.sources``, or the one of ``data.input``."""
        return list(self.sources) or [TEXT]


class DataConfig(TextConfig, PreparedDataConfig):
    """Text to prepare, and what is trained on."""


class RunConfig(Section):
    """What a run of any kind has."""

    base: ClassVar[str] = "base"
    """The file of `nemo_configs` that its configs begin with."""

    name: Annotated[str, MayChange()]
    trainer: DevicesConfig


class TrainingConfig(RunConfig):
    """A run of a kind that trains all weights on megatron-core: what the engine, checkpoints and conversion ask of it.

    Frozen: a value that differs from the files and the command line cannot appear on the way.
    """

    objective: str
    trainer: TrainerConfig
    exp_manager: Annotated[FolderConfig, MayChange()]
    model: AnyModelConfig

    @property
    @abstractmethod
    def stages(self) -> Mapping[str, StageConfig]:
        """The stages by name, in the order they are trained."""

    @property
    def teachers(self) -> tuple[str, ...]:
        """The teachers whose rows and texts are read, in their order."""
        return ()

    @property
    def teaching(self) -> DistillationConfig | None:
        """What is distilled, and from whom; None: nothing is."""
        return None

    @abstractmethod
    def warmup_tokens(self, total_tokens: int) -> int:
        """Return the tokens of the learning rate's warm-up, of so many that are trained in all."""

    @property
    def run_dir(self) -> Path:
        return Path(self.exp_manager.exp_dir) / self.exp_manager.name

    @property
    def data_parallel_size(self) -> int:
        return self.trainer.world_size // self.model.model_parallel_size

    @property
    def separates_documents(self) -> bool:
        """Whether the documents of a window don't see each other."""
        return False

    @property
    def restarts_positions(self) -> bool:
        """Whether positions begin anew with each document though documents see each other: else it changes nothing."""
        return False

    @property
    def has_fused_attention(self) -> bool:
        """Whether Transformer Engine has a fused attention for the run's numbers: else it builds a matrix of s x s.

        By ``get_attention_backend`` and ``nvte_get_fused_attn_backend`` of its release 2.11, on an H100.
        """
        head_dim = self.model.head_dim
        return self.trainer.precision == "bf16-mixed" and head_dim % 8 == 0 and head_dim <= 256

    @property
    def may_use_transformer_engine(self) -> bool:
        """Whether its layers are taken where they can be: by themselves only with a fused attention, but for FP8."""
        if self.model.transformer_engine == "auto":
            return self.has_fused_attention or self.model.fp8 is not None
        return self.model.transformer_engine


class Config(TrainingConfig):
    """A pre-training run."""

    trainer: PretrainerConfig
    exp_manager: Annotated[ExpManagerConfig, MayChange()]
    reported: Annotated[ReportedConfig | None, MayChange()]
    curriculum: CurriculumConfig
    distillation: DistillationConfig | None
    """Null: no batch is distilled."""
    model: ModelConfig
    data: Annotated[DataConfig, MayChange()]
    """Compared by its contents."""

    @property
    def stages(self) -> Mapping[str, StageConfig]:
        return self.curriculum.stages

    @property
    def teaching(self) -> DistillationConfig | None:
        return self.distillation

    @property
    def separates_documents(self) -> bool:
        return self.data.reset_attention_mask

    @property
    def restarts_positions(self) -> bool:
        return self.data.reset_position_ids and not self.data.reset_attention_mask

    def warmup_tokens(self, total_tokens: int) -> int:
        return self.model.optim.sched.warmup_tokens

    @property
    def distilled_every(self) -> int | None:
        """Each so many-th step of a stage reads the distilled parts of its sources; None: there are none."""
        return self.distillation.every_n_batches if self.distillation else None

    @property
    def teachers(self) -> tuple[str, ...]:
        return tuple(self.distillation.teachers) if self.distillation else ()
