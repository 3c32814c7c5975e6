"""Bytes that a run needs: on a device while it trains, and on disk.

Weights, gradients and optimizer are exact but for padding of communication buffers. Activations are an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.schema import Config, ModelConfig
from custom_modules.curriculum.parameters import ParameterCounts, attention_width, count_parameters
from custom_modules.curriculum.stages import Stage

FP32_BYTES = 4
ADAM_MOMENTS = 2

UINT16_VOCAB_LIMIT = 65_500
"""megatron-core stores tokens as uint16 below this vocabulary size, as int32 from it on."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device."""

    pipeline_rank: int
    weights: int
    """In the run's precision; under FP8 also the FP8 copies of the layers' linears, one of them transposed. With FSDP
    this rank's, and what it gathers: a layer and the next one, the last norm and the head."""
    gradients: int
    """In ``model.optim.grad_sync_dtype``: megatron-core's DistributedDataParallel accumulates ``main_grad`` in it.
    FSDP has this rank's part of them."""
    optimizer: int
    """Two fp32 moments, and an fp32 master copy where the weights are bf16."""
    activations: int
    """Saved for the backward pass by the layers, without recomputation and with an attention that keeps no scores."""
    logits: int
    """And their softmax in fp32, in the loss."""
    total: int


def weight_bytes(config: Config) -> int:
    """Bytes of one weight or activation."""
    return 2 if config.trainer.precision == "bf16-mixed" else FP32_BYTES


def token_bytes(config: Config) -> int:
    """Bytes of one token in the indexed datasets."""
    return 2 if config.model.vocab_size < UINT16_VOCAB_LIMIT else 4


def checkpoint_bytes(config: Config) -> int:
    """Bytes of one checkpoint: weights, fp32 master copy and moments, over all ranks."""
    sharded = config.model.optim.name == "distributed_fused_adam"
    master = FP32_BYTES if sharded or config.trainer.precision == "bf16-mixed" else 0
    per_parameter = weight_bytes(config) + master + ADAM_MOMENTS * FP32_BYTES
    return count_parameters(config.model, padded=True).total * per_parameter


def fullest_device(config: Config, stage: Stage) -> DeviceMemory:
    """The device that needs most in a stage; all devices of one pipeline rank need the same."""
    ranks = range(config.model.pipeline_model_parallel_size)
    return max((_device(config, stage, rank) for rank in ranks), key=lambda device: device.total)


def _device(config: Config, stage: Stage, pipeline_rank: int) -> DeviceMemory:
    model = config.model
    counts = count_parameters(model, padded=True)
    parameters, linears = _parameters_on_device(config, counts, pipeline_rank)
    element = weight_bytes(config)
    weights = parameters * element + (2 * linears if model.fp8 else 0)
    master = FP32_BYTES if config.trainer.precision == "bf16-mixed" else 0
    optimizer = parameters * (master + ADAM_MOMENTS * FP32_BYTES)
    if model.optim.name == "distributed_fused_adam":
        optimizer = -(-optimizer // (config.data_parallel_size * model.context_parallel_size))
    tokens = stage.micro_batch_size * stage.seq_length // model.context_parallel_size
    activations = tokens * activation_bytes_per_token(config, stage, pipeline_rank)
    logits = 0
    if pipeline_rank == model.pipeline_model_parallel_size - 1:
        in_fp32 = FP32_BYTES if element == FP32_BYTES else element + FP32_BYTES
        logits = tokens * model.padded_vocab_size // model.tensor_model_parallel_size * in_fp32
    if model.fsdp:
        ranks = config.data_parallel_size * model.context_parallel_size
        gathered = 2 * counts.layer + counts.head + counts.final_norm
        weights = -(-weights // ranks) + gathered * element
        optimizer = -(-optimizer // ranks)
        parameters = -(-parameters // ranks)
    gradients = parameters * (2 if model.optim.grad_sync_dtype == "bf16" else FP32_BYTES)
    return DeviceMemory(
        pipeline_rank=pipeline_rank,
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=activations,
        logits=logits,
        total=weights + gradients + optimizer + activations + logits,
    )


def _parameters_on_device(config: Config, counts: ParameterCounts, pipeline_rank: int) -> tuple[int, int]:
    """All parameters on a device, and those of its layers' linears: split by tensor parallelism, but for the norms."""
    model = config.model
    tensor, pipeline = model.tensor_model_parallel_size, model.pipeline_model_parallel_size
    layers = model.num_layers // pipeline
    linears = layers * counts.layer_linears // tensor
    parameters = linears + layers * counts.layer_norms
    if pipeline_rank == 0:
        parameters += counts.embedding // tensor
    if pipeline_rank == pipeline - 1:
        parameters += counts.head // tensor + counts.final_norm
    return parameters, linears


def activation_bytes_per_token(config: Config, stage: Stage, pipeline_rank: int) -> int:
    """Bytes that the layers of a pipeline rank save per token of a micro-batch.

    A layer saves, in elements: 4 hidden (the input and output of both norms), 2 (query + key) features (query, key,
    value and the attention's output) and 5 FFN features (gate, up and its copy, silu(gate), and their product); the
    last two are split by tensor parallelism, and with sequence parallelism the first are too. A pipeline holds those
    of `layers_in_flight`. What FP8 saves by keeping inputs in 8 bits is not deducted.
    """
    model = config.model
    tensor = model.tensor_model_parallel_size
    hidden = model.hidden_size // (tensor if model.sequence_parallel else 1)
    query_width, key_width = attention_width(model)
    split = 2 * (query_width + key_width) + 5 * model.ffn_hidden_size
    elements = layers_in_flight(model, pipeline_rank, stage.num_microbatches) * (4 * hidden + split // tensor)
    if pipeline_rank == model.pipeline_model_parallel_size - 1:
        elements += 2 * hidden
    return elements * weight_bytes(config)


def layers_in_flight(model: ModelConfig, pipeline_rank: int, num_microbatches: int) -> int:
    """Layers, each passed by one micro-batch, whose activations a rank holds at once.

    megatron-core's schedules warm up with a number of forward passes, and then keep one more. In 1F1B that is up to
    ``pipeline size - rank`` passes through all layers of the rank; interleaved, each pass is through one of its chunks,
    and there are ``2 x (pipeline size - rank - 1) + (chunks - 1) x pipeline size + 1``.
    """
    pipeline, chunks = model.pipeline_model_parallel_size, model.virtual_pipeline_model_parallel_size
    layers = model.num_layers // pipeline
    later = pipeline - pipeline_rank - 1
    if chunks is None:
        return layers * min(later + 1, num_microbatches)
    return layers // chunks * min(2 * later + (chunks - 1) * pipeline + 1, chunks * num_microbatches)
