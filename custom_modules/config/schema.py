"""Names and types of every config key. Values live in ``nemo_configs/``; what follows from them is derived here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
)

from custom_modules.architecture import ARCHITECTURES, Architecture
from custom_modules.architecture.weights import Weight
from custom_modules.data_steps.table import DATA_STEPS


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
PositiveInt = Annotated[Int, Field(gt=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]


def _precision(value: object) -> object:
    aliases = {"bf16": "bf16-mixed", "32": "32-true", 32: "32-true"}
    return aliases.get(value, value) if isinstance(value, (str, int)) else value


def _without_null(items: object) -> object:
    return {name: item for name, item in items.items() if item is not None} if isinstance(items, dict) else items


def _chunks(value: object) -> object:
    return None if value == 1 and not isinstance(value, bool) else value


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        raise ValueError(f"no such architecture; there are: {', '.join(ARCHITECTURES)}")
    return name


WithoutNull = BeforeValidator(_without_null)
"""Null takes an item out that a recipe has from the one it builds on."""


class Section(BaseModel):
    """A group of keys: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)


class TrainerConfig(Section):
    accelerator: Literal["auto", "gpu", "cpu"]
    devices: PositiveInt
    num_nodes: PositiveInt
    precision: Annotated[Literal["bf16-mixed", "32-true"], BeforeValidator(_precision)]
    log_every_n_tokens: PositiveInt
    val_every_n_tokens: PositiveInt
    limit_val_tokens: PositiveInt
    cpu_threads: PositiveInt | None
    dry_run: bool | Literal["auto"]
    peak_tflops: PositiveFloat | None

    @property
    def world_size(self) -> int:
        return self.devices * self.num_nodes


class CheckpointConfig(Section):
    every_n_train_tokens: PositiveInt
    save_last_n: PositiveInt


class ExpManagerConfig(Section):
    exp_dir: str
    name: str
    create_tensorboard_logger: bool
    checkpoint_callback_params: CheckpointConfig


Granularity = Literal["selective", "full"]
Method = Literal["uniform", "block"]
RecomputeModule = Literal["core_attn", "mlp"]
"""Of megatron-core's, those of a dense model. Not its layernorm: Transformer Engine's layers have no norm of their own,
and megatron-core 0.16.1 cannot recompute that of its local layers where Transformer Engine is missing."""


class StageConfig(Section):
    tokens: PositiveInt
    encoder_seq_length: PositiveInt
    global_batch_tokens: PositiveInt | None = None
    """Instead of ``model.global_batch_tokens``, in this stage; so are the next six, of the same names."""
    micro_batch_size: PositiveInt | None = None
    micro_batch_tokens: PositiveInt | None = None
    activations_checkpoint_granularity: Granularity | None = None
    activations_checkpoint_method: Method | None = None
    activations_checkpoint_num_layers: PositiveInt | None = None
    recompute_modules: Annotated[list[RecomputeModule], Field(min_length=1)] | None = None
    mix: Annotated[dict[str, PositiveFloat], WithoutNull, Field(min_length=1)] | None = None
    """Shares of the stage's tokens by source, which add up to 1; null: in proportion to what there is of each."""
    reported_mix: dict[str, PositiveFloat] = {}
    """The shares that a report gives, for the data card to set beside those that are trained."""


class CurriculumConfig(Section):
    stage: str | None
    stages: Annotated[dict[str, StageConfig], WithoutNull, Field(min_length=1)]


class TokenizerConfig(Section):
    library: Literal["sentencepiece", "huggingface"]
    model: str | None


class SchedConfig(Section):
    name: Literal["CosineAnnealing"]
    warmup_tokens: Annotated[Int, Field(ge=0)]
    min_lr: Annotated[Float, Field(ge=0)]


class OptimConfig(Section):
    name: Literal["adamw", "distributed_fused_adam"]
    lr: PositiveFloat
    weight_decay: Annotated[Float, Field(ge=0)]
    betas: tuple[Annotated[Float, Field(ge=0, lt=1)], Annotated[Float, Field(ge=0, lt=1)]]
    eps: PositiveFloat
    clip_grad: PositiveFloat
    overlap_grad_sync: bool
    overlap_param_sync: bool
    grad_sync_dtype: Literal["fp32", "bf16"]
    sched: SchedConfig


MODEL_SHAPE = (
    "num_layers",
    "hidden_size",
    "ffn_hidden_size",
    "num_attention_heads",
    "num_query_groups",
    "head_dim",
    "vocab_size",
)
"""What the shapes of the weights follow from."""


ONE_DEVICE: dict[str, int | bool | None] = {
    "tensor_model_parallel_size": 1,
    "pipeline_model_parallel_size": 1,
    "virtual_pipeline_model_parallel_size": None,
    "sequence_parallel": False,
    "context_parallel_size": 1,
    "fsdp": False,
}
"""The keys of a model that is not divided over devices, with their values."""


class ModelConfig(Section):
    architecture: Annotated[str, AfterValidator(_known_architecture)]
    position_embedding_type: str
    """This and the next three belong to the architecture; null: as it has it."""
    normalization: str
    activation: str
    share_embeddings_and_output_weights: bool
    restore_from_path: str | None
    num_layers: PositiveInt
    hidden_size: PositiveInt
    ffn_hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    num_query_groups: PositiveInt
    kv_channels: PositiveInt | None
    vocab_size: PositiveInt
    make_vocab_size_divisible_by: PositiveInt
    layernorm_epsilon: PositiveFloat
    rotary_base: PositiveFloat
    sliding_window: Annotated[Int, Field(ge=1)] | None
    init_method_std: PositiveFloat
    encoder_seq_length: PositiveInt | None
    global_batch_tokens: PositiveInt
    micro_batch_size: PositiveInt | None
    micro_batch_tokens: PositiveInt | None
    tensor_model_parallel_size: PositiveInt
    pipeline_model_parallel_size: PositiveInt
    virtual_pipeline_model_parallel_size: Annotated[PositiveInt | None, BeforeValidator(_chunks)]
    """Null and 1 are the same."""
    overlap_p2p_comm: bool
    fsdp: bool
    sequence_parallel: bool
    context_parallel_size: PositiveInt
    cp_comm_type: Literal["all_gather", "a2a", "p2p"]
    transformer_engine: bool | Literal["auto"]
    activations_checkpoint_granularity: Granularity | None
    activations_checkpoint_method: Method | None
    activations_checkpoint_num_layers: PositiveInt | None
    recompute_modules: Annotated[list[RecomputeModule], Field(min_length=1)]
    cross_entropy_chunk_size: PositiveInt | None
    fp8: Literal["hybrid", "e4m3"] | None
    fp8_recipe: Literal["delayed", "tensorwise", "blockwise"]
    fp8_margin: Annotated[Int, Field(ge=0)] | None
    fp8_amax_history_len: PositiveInt | None
    fp8_amax_compute_algo: Literal["max", "most_recent"] | None
    first_last_layers_bf16: bool
    num_layers_at_start_in_bf16: Annotated[Int, Field(ge=0)]
    num_layers_at_end_in_bf16: Annotated[Int, Field(ge=0)]
    seed: Annotated[Int, Field(ge=0, lt=2**31)]
    tokenizer: TokenizerConfig
    optim: OptimConfig

    @field_validator(
        "position_embedding_type",
        "normalization",
        "activation",
        "share_embeddings_and_output_weights",
        mode="before",
    )
    @classmethod
    def _of_architecture(cls, value: object, info: ValidationInfo) -> object:
        name = info.data.get("architecture")
        return ARCHITECTURES[name].choose(str(info.field_name), value) if name else value

    @property
    def kind(self) -> Architecture:
        """The entry of ``model.architecture`` in the table."""
        return ARCHITECTURES[self.architecture]

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Every weight, in the order a token meets them; a layer's once."""
        return tuple(self.kind.weights(self))

    @property
    def head_dim(self) -> int:
        return self.kv_channels or self.hidden_size // self.num_attention_heads

    @property
    def model_parallel_size(self) -> int:
        """Devices that work on a sequence together."""
        return self.tensor_model_parallel_size * self.pipeline_model_parallel_size * self.context_parallel_size

    @property
    def micro_batch_group(self) -> int:
        """Micro-batches that a pipeline takes together: their number in a step is a multiple of it."""
        return self.pipeline_model_parallel_size if self.virtual_pipeline_model_parallel_size else 1

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and the head: a multiple that every tensor-parallel rank shares evenly."""
        multiple = self.make_vocab_size_divisible_by * self.tensor_model_parallel_size
        return -(-self.vocab_size // multiple) * multiple


StepOptions = dict[str, Any] | None
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


class DataConfig(Section):
    dir: str
    max_epochs: PositiveInt
    loader: Literal["native", "dali"]
    prefetch_factor: PositiveInt
    input: str | list[str] | None
    sources: Annotated[dict[str, str | list[str]], WithoutNull]
    train_tokenizer: bool
    text_key: str
    url_key: str
    on_error: Literal["skip", "raise"]
    validation_fraction: Annotated[Float, Field(gt=0, lt=1)]
    steps: StepsConfig
    shard_bytes: PositiveInt
    workers: PositiveInt | None
    executor: Literal["local", "slurm", "ray"]
    slurm: SlurmConfig


TEXT = "text"
"""The name of the only source where ``data.input`` is given."""


class Config(Section):
    """A whole run. Frozen: a value that differs from the files and the command line cannot appear on the way."""

    name: str
    objective: str
    trainer: TrainerConfig
    exp_manager: ExpManagerConfig
    curriculum: CurriculumConfig
    model: ModelConfig
    data: DataConfig

    @property
    def run_dir(self) -> Path:
        return Path(self.exp_manager.exp_dir) / self.exp_manager.name

    @property
    def source_names(self) -> list[str]:
        """The sources of the training text: those of ``data.sources``, or the one of ``data.input``."""
        return list(self.data.sources) or [TEXT]

    @property
    def data_parallel_size(self) -> int:
        return self.trainer.world_size // self.model.model_parallel_size
