"""The parts that the ``model`` section of each kind of run is put together from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from custom_modules.architecture import ARCHITECTURES, Architecture
from custom_modules.architecture.weights import Weight
from custom_modules.config.marks import Behaviour, ChangesWithTokenizer, MayChange, OneDevice, Shape
from custom_modules.config.rampup import BatchRampup
from custom_modules.config.sections import Float, Int, PathText, PositiveFloat, PositiveInt, Section


def _chunks(value: object) -> object:
    return None if value == 1 and not isinstance(value, bool) else value


def _known_architecture(name: str) -> str:
    if name not in ARCHITECTURES:
        raise ValueError(f"no such architecture; there are: {', '.join(ARCHITECTURES)}")
    return name


def _three_numbers(value: object) -> object:
    numbers = value if isinstance(value, (list, tuple)) else [value]
    are_whole = all(
        isinstance(number, (int, float)) and not isinstance(number, bool) and number > 0 and number % 1 == 0
        for number in numbers
    )
    if value is not None and (len(numbers) != 3 or not are_whole):
        raise ValueError(
            "needs [first, increment, tokens], three whole numbers above 0, such as [262144,262144,50000000000]; null: "
            "the batch does not grow"
        )
    return value


Granularity = Literal["selective", "full"]
Method = Literal["uniform", "block"]
RecomputeModule = Literal["core_attn", "mlp"]
"""megatron-core's modules of a dense model. Its layernorm is not among them: Transformer Engine's layers have no norm
of their own, and megatron-core 0.16.1 cannot recompute that of its local layers where Transformer Engine is missing."""


class TokenizerConfig(Section):
    library: Literal["sentencepiece", "huggingface"]
    model: PathText | None


class DecayConfig(Section):
    """How a learning rate falls, after a warm-up that each kind of run counts in its own unit."""

    name: Literal["CosineAnnealing"]
    min_lr: Annotated[Float, Field(ge=0)]


class SchedConfig(DecayConfig):
    warmup_tokens: Annotated[Int, Field(ge=0)]


class EpochSchedConfig(DecayConfig):
    warmup_epochs: Annotated[Float, Field(ge=0)]
    """A part of an epoch: of the tokens, or pairs, of the training data."""


class AdamConfig(Section):
    """AdamW with a learning rate that falls."""

    lr: PositiveFloat
    weight_decay: Annotated[Float, Field(ge=0)]
    betas: tuple[Annotated[Float, Field(ge=0, lt=1)], Annotated[Float, Field(ge=0, lt=1)]]
    eps: PositiveFloat
    clip_grad: PositiveFloat | None
    """The norm that gradients are scaled down to; null: they stay as they are."""
    sched: DecayConfig


class MegatronOptimConfig(AdamConfig):
    """megatron-core's optimizers, and how gradients and weights reach the data-parallel ranks."""

    name: Literal["adamw", "distributed_fused_adam"]
    overlap_grad_sync: Annotated[bool, MayChange()]
    overlap_param_sync: Annotated[bool, MayChange()]
    grad_sync_dtype: Literal["fp32", "bf16"]


class OptimConfig(MegatronOptimConfig):
    sched: SchedConfig


class EpochOptimConfig(MegatronOptimConfig):
    sched: EpochSchedConfig


class ArchitectureConfig(Section):
    """What function a model is: all that is needed to build one on one device."""

    architecture: Annotated[str, Shape(), AfterValidator(_known_architecture)]
    position_embedding_type: Annotated[str, Behaviour()]
    """This and the next three belong to the architecture; null: as it has it."""
    normalization: Annotated[str, Behaviour()]
    activation: Annotated[str, Behaviour()]
    share_embeddings_and_output_weights: Annotated[bool, Shape()]
    num_layers: Annotated[PositiveInt, Shape()]
    hidden_size: Annotated[PositiveInt, Shape()]
    ffn_hidden_size: Annotated[PositiveInt, Shape()]
    num_attention_heads: Annotated[PositiveInt, Shape()]
    num_query_groups: Annotated[PositiveInt, Shape()]
    kv_channels: Annotated[PositiveInt | None, Shape(resolved="head_dim")]
    vocab_size: Annotated[PositiveInt, Shape(), ChangesWithTokenizer()]
    make_vocab_size_divisible_by: PositiveInt
    layernorm_epsilon: Annotated[PositiveFloat, Behaviour()]
    rotary_base: Annotated[PositiveFloat, Behaviour()]
    sliding_window: Annotated[Annotated[Int, Field(ge=1)] | None, Behaviour(), ChangesWithTokenizer()]
    init_method_std: PositiveFloat

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
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and the head."""
        return -(-self.vocab_size // self.make_vocab_size_divisible_by) * self.make_vocab_size_divisible_by


class BatchConfig(Section):
    """How many tokens a step takes, and a device at a time."""

    encoder_seq_length: PositiveInt | None
    global_batch_tokens: PositiveInt
    rampup_batch_tokens: Annotated[BatchRampup | None, BeforeValidator(_three_numbers)]
    micro_batch_size: Annotated[PositiveInt | None, MayChange()]
    micro_batch_tokens: Annotated[PositiveInt | None, MayChange()]


class SampleBatchConfig(Section):
    """How many samples a step takes, and a device at a time; a sample has its own length."""

    encoder_seq_length: PositiveInt
    """The most tokens of a sample."""
    global_batch_size: PositiveInt
    """Samples of a step, over all devices."""
    micro_batch_size: Annotated[PositiveInt, MayChange()]

    @property
    def global_batch_tokens(self) -> int:
        """The tokens of a step whose samples are as long as any may be."""
        return self.global_batch_size * self.encoder_seq_length

    @property
    def rampup_batch_tokens(self) -> BatchRampup | None:
        """None: the batch does not grow."""
        return None

    @property
    def micro_batch_tokens(self) -> int | None:
        """None: micro-batches are counted in samples."""
        return None


class ParallelismConfig(Section):
    """How a model is divided over devices."""

    tensor_model_parallel_size: Annotated[PositiveInt, OneDevice(1), MayChange()]
    pipeline_model_parallel_size: Annotated[PositiveInt, OneDevice(1), MayChange()]
    virtual_pipeline_model_parallel_size: Annotated[
        Annotated[PositiveInt | None, BeforeValidator(_chunks)], OneDevice(None), MayChange()
    ]
    """Null and 1 are the same."""
    overlap_p2p_comm: Annotated[bool, MayChange()]
    fsdp: Annotated[bool, OneDevice(False), MayChange()]
    sequence_parallel: Annotated[bool, OneDevice(False), MayChange()]
    context_parallel_size: Annotated[PositiveInt, OneDevice(1), MayChange()]
    cp_comm_type: Annotated[Literal["all_gather", "a2a", "p2p"], MayChange()]

    @property
    def model_parallel_size(self) -> int:
        """Devices that work on a sequence together."""
        return self.tensor_model_parallel_size * self.pipeline_model_parallel_size * self.context_parallel_size

    @property
    def micro_batch_group(self) -> int:
        """Micro-batches that a pipeline takes together: their number in a step is a multiple of it."""
        return self.pipeline_model_parallel_size if self.virtual_pipeline_model_parallel_size else 1


class DividedModelConfig(ParallelismConfig, ArchitectureConfig):
    """A model, and how it is divided over devices."""

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and the head: a multiple that every tensor-parallel rank shares evenly."""
        multiple = self.make_vocab_size_divisible_by * self.tensor_model_parallel_size
        return -(-self.vocab_size // multiple) * multiple

    @property
    def padding_rows(self) -> int:
        """Those of them that no token has."""
        return self.padded_vocab_size - self.vocab_size


class RecomputeConfig(Section):
    """What a backward pass computes again instead of keeping it."""

    activations_checkpoint_granularity: Annotated[Granularity | None, MayChange()]
    activations_checkpoint_method: Annotated[Method | None, MayChange()]
    activations_checkpoint_num_layers: Annotated[PositiveInt | None, MayChange()]
    recompute_modules: Annotated[list[RecomputeModule], Field(min_length=1), MayChange()]
    cross_entropy_chunk_size: Annotated[PositiveInt | None, MayChange()]


class PrecisionConfig(Section):
    """What layers compute in, and whose layers they are."""

    transformer_engine: Annotated[bool | Literal["auto"], MayChange()]
    fp8: Literal["hybrid", "e4m3"] | None
    fp8_recipe: Literal["delayed", "tensorwise", "blockwise"]
    fp8_margin: Annotated[Int, Field(ge=0)] | None
    fp8_amax_history_len: PositiveInt | None
    fp8_amax_compute_algo: Literal["max", "most_recent"] | None
    first_last_layers_bf16: bool
    num_layers_at_start_in_bf16: Annotated[Int, Field(ge=0)]
    num_layers_at_end_in_bf16: Annotated[Int, Field(ge=0)]


class TrainedModelConfig(Section):
    """How any model is trained on megatron-core."""

    restore_from_path: Annotated[PathText | None, MayChange()]
    seed: Annotated[Int, Field(ge=0, lt=2**31)]
    tokenizer: Annotated[TokenizerConfig, MayChange()]
    """Compared by its contents."""
    gc_interval: Annotated[Int, Field(ge=0), MayChange()]
    optim: MegatronOptimConfig


class SftModelConfig(TrainedModelConfig, PrecisionConfig, RecomputeConfig, SampleBatchConfig, DividedModelConfig):
    """A model to fine-tune on samples."""

    optim: EpochOptimConfig
