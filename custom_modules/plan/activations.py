"""Bytes of activations on one device at the fullest moment of a step.

Within 5% for megatron-core's local layers on a CPU, which tests measure. For Transformer Engine's layers they are what
the source of its release 2.11 saves, and an estimate until a GPU has measured them: ``_LayerNormLinear`` keeps its
input, the normed input and a reciprocal deviation; ``_Linear`` its input; both keep what they multiply in 8 bits under
FP8, once, as the backward pass needs it; the attention keeps query, key, value and output, and a log-sum in fp32 per
head. With megatron-core's fused SwiGLU between them, which keeps gate and up in one.

Per token of a micro-batch throughout, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.architecture.alibi import BLOCK, FEATURES
from custom_modules.config.recompute import Recompute
from custom_modules.config.schema import AnyModelConfig, TrainingConfig
from custom_modules.config.stages import Stage
from custom_modules.plan import targets
from custom_modules.plan.parameters import attention_width

FP32 = 4
INT64 = 8


@dataclass(frozen=True)
class Activations:
    """Bytes on one device, at once."""

    kept: int
    """What the layers in flight keep for their backward pass."""
    passing: int
    """What is beside ``kept`` in the backward pass of the layer, or group of layers, that needs most: its recomputed
    activations, and gradients."""
    loss: int
    """What is beside ``kept`` in the last norm, the head and the loss: logits, their softmax and gradients. 0 but on
    the last pipeline rank."""

    @property
    def total(self) -> int:
        return self.kept + max(self.passing, self.loss)


@dataclass(frozen=True)
class _Layer:
    """Bytes that one layer keeps per token, by what recomputation can do without."""

    input: int
    """The layer's input, which is all that full recomputation keeps."""
    norms: int
    """Both norms' inputs and outputs, but for what is counted in ``mlp``."""
    core_attention: int
    """Query, key, value and what the attention itself keeps."""
    checkpointed_core_attention: int
    """What is kept of it where it is recomputed: the projection that query, key and value are views of, and where they
    are rotated, query and key after that."""
    attention_output: int
    mlp: int
    passing: int
    """Gradients at the fullest moment of its backward pass, less what that has given back by then."""

    def kept(self, recompute: Recompute) -> int:
        modules = recompute.modules
        core = self.checkpointed_core_attention if "core_attn" in modules else self.core_attention
        return self.norms + core + self.attention_output + (0 if "mlp" in modules else self.mlp)


def activations(config: TrainingConfig, stage: Stage, pipeline_rank: int, element: int, on_cpu: bool) -> Activations:
    """Count them for one device in a stage.

    Args:
        element: bytes of an activation in the run's precision.
        on_cpu: as megatron-core's local layers keep them on a CPU, else as Transformer Engine's.
    """
    model, recompute = config.model, stage.recompute
    length = stage.seq_length // model.context_parallel_size
    tokens = stage.micro_batch_size * length
    layer = _cpu_layer(config, element) if on_cpu else _transformer_engine_layer(config, element, stage)
    layers, in_flight = passes_in_flight(model, pipeline_rank, stage.num_microbatches)
    is_last = pipeline_rank == model.pipeline_model_parallel_size - 1

    a_layer = layer.kept(recompute)
    kept, passing = layers * a_layer, layer.passing
    if recompute.granularity == "full":
        group = recompute.num_layers
        if recompute.method == "uniform":
            kept, passing = layers // group * layer.input, group * a_layer + layer.passing
        else:
            kept = group * layer.input + (layers - group) * a_layer
            passing += a_layer if group == layers else 0
    elif "mlp" in recompute.modules:
        passing += layer.mlp
    # Tokens, labels and positions.
    kept += 3 * INT64 + targets.rows(config)
    if not is_last:
        # The output that goes on to the next rank.
        kept += element * _hidden(model)
    per_sequence = 0 if recompute.granularity == "full" else layers * _rotary(config, element, on_cpu)
    return Activations(
        kept=in_flight * (tokens * kept + length * per_sequence)
        + _masks(config, stage, element, on_cpu)
        + tokens * stage.num_microbatches * targets.texts(config),
        passing=tokens * passing + _weight_gradient(config, element),
        loss=tokens * _norm(config, element, on_cpu) + _loss(config, tokens, element) if is_last else 0,
    )


def passes_in_flight(model: AnyModelConfig, pipeline_rank: int, num_microbatches: int) -> tuple[int, int]:
    """Layers that a micro-batch passes at a time, and how many such passes a rank holds activations of at once.

    megatron-core's schedules warm up with a number of forward passes, and then keep one more. In 1F1B that is up to
    ``pipeline size - rank`` passes through all layers of the rank; interleaved, each pass is through one of its chunks,
    and there are ``2 x (pipeline size - rank - 1) + (chunks - 1) x pipeline size + 1``.
    """
    pipeline, chunks = model.pipeline_model_parallel_size, model.virtual_pipeline_model_parallel_size
    layers = model.num_layers // pipeline
    later = pipeline - pipeline_rank - 1
    if chunks is None:
        return layers, min(later + 1, num_microbatches)
    return layers // chunks, min(2 * later + (chunks - 1) * pipeline + 1, chunks * num_microbatches)


def _hidden(model: AnyModelConfig) -> int:
    """Features of a token between the linears: sequence parallelism leaves a rank its share of the tokens there."""
    return model.hidden_size // (model.tensor_model_parallel_size if model.sequence_parallel else 1)


def _cpu_layer(config: TrainingConfig, element: int) -> _Layer:
    """megatron-core's local layer with `SlidingWindowAttention`, nothing fused; torch's norm computes in fp32."""
    model, tensor = config.model, config.model.tensor_model_parallel_size
    hidden, ffn = model.hidden_size, model.ffn_hidden_size // tensor
    query, key = (width // tensor for width in attention_width(model))
    wide_query, wide_key = _attended(config, query, key)
    return _Layer(
        input=element * _hidden(model),
        norms=2 * _norm(config, element, on_cpu=True),
        core_attention=element * (2 * wide_query + _local_keys_and_values(config, wide_query, wide_key))
        + FP32 * model.num_attention_heads // tensor,
        checkpointed_core_attention=_checkpointed_core_attention(model, element, query, key),
        # A copy of it, in the order that the projection takes.
        attention_output=element * query,
        # Gate and up in one, silu(gate), a copy of up, and their product.
        mlp=5 * element * ffn,
        passing=element * (2 * ffn + 2 * hidden),
    )


def _transformer_engine_layer(config: TrainingConfig, element: int, stage: Stage) -> _Layer:
    """Norms fused with the linear behind them, SwiGLU fused, rotary embedding fused; attention too, but where it keeps
    the softmax of all scores."""
    model, tensor = config.model, config.model.tensor_model_parallel_size
    hidden, ffn = model.hidden_size, model.ffn_hidden_size // tensor
    query, key = (width // tensor for width in attention_width(model))
    wide_query, wide_key = _attended(config, query, key)
    multiplied = 1 if model.fp8 else element
    apart = _hidden(model)
    norm = (element + multiplied) * apart + FP32
    scores = 0 if config.has_fused_attention else element * model.num_attention_heads // tensor * stage.seq_length
    return _Layer(
        input=element * apart,
        norms=norm + element * apart,
        core_attention=element * (wide_query + 2 * wide_key)
        + scores
        + FP32 * model.num_attention_heads // tensor
        # The attention and the projection behind it share their tensor, unless that is multiplied in FP8 or cut.
        + (element * wide_query if model.fp8 or _is_folded(config) else 0),
        checkpointed_core_attention=_checkpointed_core_attention(model, element, query, key),
        attention_output=multiplied * query,
        # Its own norm goes with it: the normed input, gate and up in one, and their product.
        mlp=multiplied * apart + FP32 + (2 * element + multiplied) * ffn,
        passing=max(element * (3 * ffn + 2 * hidden) - multiplied * ffn, scores),
    )


def _is_folded(config: TrainingConfig) -> bool:
    """Whether ALiBi makes queries, keys and values wider; else it is a mask."""
    return config.model.position_embedding_type == "alibi" and config.trainer.precision == "bf16-mixed"


def _attended(config: TrainingConfig, query: int, key: int) -> tuple[int, int]:
    """Features of all query heads and of all key heads of a rank, as the attention itself takes them."""
    further = FEATURES if _is_folded(config) else 0
    head_dim = config.model.head_dim
    return query // head_dim * (head_dim + further), key // head_dim * (head_dim + further)


def _local_keys_and_values(config: TrainingConfig, query: int, key: int) -> int:
    """Features of keys and values that `SlidingWindowAttention` keeps: context parallelism gathers the whole sequence.

    Folded keys that heads share are repeated for each of them, for each of a context-parallel rank's two chunks as far
    as it sees.
    """
    ranks = config.model.context_parallel_size
    if _is_folded(config) and key < query:
        return query * (2 * ranks + (1 if ranks > 1 else 0))
    return 2 * key * ranks


def _checkpointed_core_attention(model: AnyModelConfig, element: int, query: int, key: int) -> int:
    rotated = query + key if model.position_embedding_type == "rope" else 0
    return element * (query + 2 * key + rotated)


def _norm(config: TrainingConfig, element: int, on_cpu: bool) -> int:
    """One norm's input and output. On a CPU torch keeps the input and the normed input in fp32."""
    hidden = _hidden(config.model)
    return (2 * FP32 + element) * hidden + FP32 if on_cpu else 2 * element * hidden + FP32


def _rotary(config: TrainingConfig, element: int, on_cpu: bool) -> int:
    """Cosines and sines of a layer's query and key, per position of a sequence."""
    is_rope = config.model.position_embedding_type == "rope"
    return 4 * element * config.model.head_dim if on_cpu and is_rope else 0


def _masks(config: TrainingConfig, stage: Stage, element: int, on_cpu: bool) -> int:
    """Bytes of the local attention's masks, which all layers share: those of a window are of its first blocks and of
    all others, and ALiBi's is one for each head."""
    if config.model.position_embedding_type == "alibi" and not _is_folded(config):
        heads = config.model.num_attention_heads // config.model.tensor_model_parallel_size
        return element * heads * BLOCK * (stage.seq_length + BLOCK)
    window = config.model.sliding_window
    if not on_cpu or window is None or stage.seq_length <= window:
        return 0
    return element * 6 * (window // 2) ** 2


def _loss(config: TrainingConfig, tokens: int, element: int) -> int:
    """Bytes, at the larger of two moments: logits beside the fp32 copy that becomes the softmax and then its gradient,
    and the logits' gradient beside those of hidden states and head. In chunks, only one of them has logits, and what
    the others have added to the last two is beside it."""
    model = config.model
    vocabulary = model.padded_vocab_size // model.tensor_model_parallel_size
    hidden, head = element * model.hidden_size * tokens, element * model.hidden_size * vocabulary
    # Logits in fp32 are not copied.
    copied = FP32 + (element if element != FP32 else 0)
    chunk, of_targets = model.cross_entropy_chunk_size, targets.in_loss(config)
    if chunk is None or tokens <= chunk:
        return max(
            tokens * (vocabulary * copied + of_targets),
            tokens * (vocabulary * element + of_targets) + hidden + head,
        )
    in_chunks = tokens * targets.rows(config) + chunk * of_targets
    return hidden + head + in_chunks + max(chunk * vocabulary * copied, chunk * vocabulary * element + head)


def _weight_gradient(config: TrainingConfig, element: int) -> int:
    """Bytes of the largest gradient of a layer's matrices, until it is added to ``main_grad``."""
    model = config.model
    largest = max(weight.count() for weight in model.weights if weight.is_layers)
    return element * largest // model.tensor_model_parallel_size
