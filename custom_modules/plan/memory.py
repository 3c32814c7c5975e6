"""Bytes that a run needs: on a device while it trains, and on disk.

Weights, gradients and optimizer are exact but for padding of communication buffers: clipping and Adam, fused, take
nothing beside them. Activations: see `custom_modules.plan.activations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Stage
from custom_modules.data import token_dtype
from custom_modules.plan.activations import activations
from custom_modules.plan.fp8_copies import fp8_copies
from custom_modules.plan.parameters import ParameterCounts, count_parameters

FP32_BYTES = 4
ADAM_MOMENTS = 2

OUTSIDE_TORCH = 2 * 2**30
"""What CUDA's context and NCCL's buffers take of a GPU beside torch: assumed, and in no total."""


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device that torch allocates, at the fullest moment of a step."""

    pipeline_rank: int
    weights: int
    """Weights in the run's precision; under FP8 also the FP8 copies of the layers' linears, one of them transposed.
    With FSDP this rank's, the FP8 copies (see `custom_modules.plan.fp8_copies`), and what it gathers: a layer and the
    next one, the last norm and the head."""
    gradients: int
    """Gradients in ``model.optim.grad_sync_dtype``: megatron-core's DistributedDataParallel accumulates ``main_grad``
    in it. FSDP has this rank's part of them."""
    optimizer: int
    """Two fp32 moments, and an fp32 master copy where the weights are bf16."""
    activations: int
    """Kept for the backward pass by the layers."""
    layer_backward: int
    """What is beside them while the backward pass is in a layer: recomputed activations, and gradients."""
    loss: int
    """What is beside them in the loss: the last norm, logits, their softmax and gradients."""
    update: int
    """The fp32 copies that megatron-core's optimizers make of all bf16 gradients, when the backward passes are over."""
    total: int
    """The sum of weights, gradients, optimizer and the most of what is not there at the same time: activations with the
    larger of the two beside them, or the update."""


def weight_bytes(config: TrainingConfig) -> int:
    """Bytes of one weight or activation."""
    return 2 if config.trainer.precision == "bf16-mixed" else FP32_BYTES


def token_bytes(config: TrainingConfig) -> int:
    """Bytes of one token in the indexed datasets."""
    return token_dtype.token_bytes(config.model.vocab_size)


def checkpoint_bytes(config: TrainingConfig) -> int:
    """Bytes of one checkpoint: weights, fp32 master copy and moments, over all ranks."""
    sharded = config.model.optim.name == "distributed_fused_adam"
    master = FP32_BYTES if sharded or config.trainer.precision == "bf16-mixed" else 0
    per_parameter = weight_bytes(config) + master + ADAM_MOMENTS * FP32_BYTES
    return count_parameters(config.model, padded=True).total * per_parameter


def fullest_device(config: TrainingConfig, stage: Stage, on_cpu: bool | None = None) -> DeviceMemory:
    """The device that needs most in a stage, in its fullest phase; all devices of one pipeline rank need the same.

    Args:
        on_cpu: what computes it, megatron-core's local layers on a CPU or Transformer Engine's on a GPU; None: as
            ``trainer.accelerator`` says, where auto is a GPU. Local layers on a GPU are taken to keep what they do on
            a CPU.
    """
    if on_cpu is None:
        on_cpu = config.trainer.accelerator == "cpu" or not config.may_use_transformer_engine
    phase = fullest_phase(config, stage, on_cpu)
    return max(_devices(config, phase, on_cpu), key=_total)


def fullest_phase(config: TrainingConfig, stage: Stage, on_cpu: bool) -> Stage:
    """Return the phase in which a stage needs most; the stage itself where its batch does not grow."""
    # What a phase needs follows from its micro-batch and, in a pipeline, from how many of them there are.
    kinds = {(phase.micro_batch_size, phase.num_microbatches): phase for phase in stage.phases}
    if len(kinds) == 1:
        return next(iter(kinds.values()))
    return max(kinds.values(), key=lambda phase: max(map(_total, _devices(config, phase, on_cpu))))


def _devices(config: TrainingConfig, stage: Stage, on_cpu: bool) -> Iterator[DeviceMemory]:
    """Yield one device of each pipeline rank."""
    yield from (_device(config, stage, rank, on_cpu) for rank in range(config.model.pipeline_model_parallel_size))


def _total(device: DeviceMemory) -> int:
    return device.total


def _device(config: TrainingConfig, stage: Stage, pipeline_rank: int, on_cpu: bool) -> DeviceMemory:
    model = config.model
    counts = count_parameters(model, padded=True)
    parameters, in_fp8 = _parameters_on_device(config, counts, pipeline_rank)
    element = weight_bytes(config)
    weights, copies = parameters * element, fp8_copies(model, in_fp8)
    master = FP32_BYTES if config.trainer.precision == "bf16-mixed" else 0
    optimizer = parameters * (master + ADAM_MOMENTS * FP32_BYTES)
    if model.optim.name == "distributed_fused_adam":
        optimizer = -(-optimizer // (config.data_parallel_size * model.context_parallel_size))
    layers = activations(config, stage, pipeline_rank, element, on_cpu)
    if model.fsdp:
        ranks = config.data_parallel_size * model.context_parallel_size
        gathered = 2 * counts.layer + counts.output + counts.final_norm
        weights = -(-weights // ranks) + gathered * element
        optimizer = -(-optimizer // ranks)
        parameters = -(-parameters // ranks)
    gradients = parameters * (2 if model.optim.grad_sync_dtype == "bf16" else FP32_BYTES)
    update = _update(config, parameters) if model.optim.grad_sync_dtype == "bf16" else 0
    return DeviceMemory(
        pipeline_rank=pipeline_rank,
        weights=weights + copies,
        gradients=gradients,
        optimizer=optimizer,
        activations=layers.kept,
        layer_backward=layers.passing,
        loss=layers.loss,
        update=update,
        total=weights + copies + gradients + optimizer + max(layers.total, update),
    )


def _update(config: TrainingConfig, parameters: int) -> int:
    """Return the bytes that are there in the optimizer's step and not in the passes before, where gradients are bf16.

    Args:
        parameters: of the device.
    """
    model = config.model
    if model.fsdp:
        return parameters * (FP32_BYTES - 2)  # each bf16 gradient goes as its copy comes
    divided = model.optim.name == "distributed_fused_adam"
    return -(-parameters * FP32_BYTES // (config.data_parallel_size * model.context_parallel_size if divided else 1))


def _parameters_on_device(config: TrainingConfig, counts: ParameterCounts, pipeline_rank: int) -> tuple[int, int]:
    """Return a device's parameters, and those of them that FP8 may multiply; tensor ranks divide all but the norms."""
    model = config.model
    tensor, pipeline = model.tensor_model_parallel_size, model.pipeline_model_parallel_size
    layers = model.num_layers // pipeline
    linears = layers * counts.layer_linears // tensor
    parameters = linears + layers * counts.layer_norms
    if pipeline_rank == 0:
        parameters += counts.embedding // tensor
    if pipeline_rank == pipeline - 1:
        # A shared embedding is on both ends of the pipeline.
        head = counts.head if counts.head or pipeline == 1 else counts.embedding
        parameters += head // tensor + counts.final_norm
    return parameters, layers * counts.layer_fp8 // tensor
