"""A guess at how long a step takes, from the plan's counts. It decides what is tried first, and nothing else.

A step's time is taken for the sum of what its devices compute, what they send one another and what the optimizer moves,
as if nothing of it overlapped. Rates are assumed: two sets, round numbers, of an H100 with NVLink and of a CPU's core.
What is measured then decides, so that a wrong rate costs a search time and not its result.
"""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Stage
from custom_modules.plan.flops import flops_per_sequence
from custom_modules.plan.memory import weight_bytes
from custom_modules.plan.parameters import ParameterCounts, attention_width, count_parameters


@dataclass(frozen=True)
class Rates:
    """What a device does in a second."""

    flops: float
    link: float
    """Bytes to and from other devices."""
    memory: float
    """Bytes to and from its own memory."""
    least_pass: float
    """Seconds that a micro-batch takes the host, however small it is."""


RATES = {
    "gpu": Rates(flops=4e14, link=3e11, memory=2e12, least_pass=0.04),
    "cpu": Rates(flops=3e10, link=2e9, memory=1e10, least_pass=0.002),
}

FP8_SHARE = {"tensorwise": 0.83, "delayed": 0.87, "blockwise": 0.93}
"""What the layers' matrix products take in FP8 of their time in bf16: others gained 4 to 17% of a step at this size."""

SMALL_BATCH = 1024
"""Tokens of a micro-batch at which matrix products reach half of what they reach with many."""

OPTIMIZER_BYTES = 28
"""What an update reads and writes of each parameter: weight, gradient and fp32 state."""


def guess_step_seconds(config: TrainingConfig, stage: Stage, rates: Rates) -> float:
    """Guess what a step of a stage takes.

    Args:
        stage: gives the micro-batch, and what is recomputed.
        rates: of a device.
    """
    counts = count_parameters(config.model)
    model = config.model
    passes, chunks = stage.num_microbatches, model.virtual_pipeline_model_parallel_size or 1
    a_pass = max(_pass_seconds(config, counts, stage, rates), rates.least_pass)
    bubble = (model.pipeline_model_parallel_size - 1) / chunks
    return (passes + bubble) * (a_pass + _sent_a_pass(config, counts, stage) / rates.link) + _update_seconds(
        config, counts, rates
    )


def _pass_seconds(config: TrainingConfig, counts: ParameterCounts, stage: Stage, rates: Rates) -> float:
    """Return what a device computes for, of one micro-batch, forward and back."""
    model = config.model
    tokens = stage.micro_batch_size * stage.seq_length
    layers = 6 * counts.num_layers * counts.layer_linears * tokens
    mlps, head = 6 * counts.num_layers * counts.mlp * tokens, 6 * counts.output * tokens
    attention = stage.micro_batch_size * flops_per_sequence(model, stage.seq_length) - layers - head
    share = FP8_SHARE[model.fp8_recipe] if model.fp8 else 1.0
    flops = share * layers + attention + head
    # A forward pass is a third of both.
    if stage.recompute.granularity == "full":
        flops += (share * layers + attention) / 3
    elif "mlp" in stage.recompute.modules:
        flops += share * mlps / 3
    if model.cross_entropy_chunk_size is not None:
        flops += head / 3
    here = tokens / model.model_parallel_size
    return flops / model.model_parallel_size / rates.flops * (1 + SMALL_BATCH / here)


def _sent_a_pass(config: TrainingConfig, counts: ParameterCounts, stage: Stage) -> float:
    """Return the bytes that a device sends for a micro-batch."""
    model, element = config.model, weight_bytes(config)
    tensor, pipeline, context = (
        model.tensor_model_parallel_size,
        model.pipeline_model_parallel_size,
        model.context_parallel_size,
    )
    tokens = stage.micro_batch_size * stage.seq_length // context
    layers = counts.num_layers / pipeline
    residual = element * tokens * model.hidden_size
    # Two sums a layer in each direction; each is a scatter and a gather.
    sent = layers * 4 * 2 * residual * (tensor - 1) / tensor
    _, key_width = attention_width(model)
    keys_and_values = 2 * element * tokens * context * key_width / tensor
    sent += layers * 3 * keys_and_values * (context - 1) / context
    if pipeline > 1:
        sent += 2 * residual
    ranks = config.data_parallel_size * context
    if model.fsdp:
        # Gathered in each direction, and gradients scattered.
        sent += 3 * element * counts.total * (ranks - 1) / ranks
    return sent


def _update_seconds(config: TrainingConfig, counts: ParameterCounts, rates: Rates) -> float:
    """Return what the gradients' sum and the update take."""
    model = config.model
    ranks = config.data_parallel_size * model.context_parallel_size
    parameters = counts.total / (model.tensor_model_parallel_size * model.pipeline_model_parallel_size)
    is_divided = model.fsdp or model.optim.name == "distributed_fused_adam"
    sent = 0.0 if model.fsdp else 8 * parameters * (ranks - 1) / ranks
    return sent / rates.link + OPTIMIZER_BYTES * parameters / (ranks if is_divided else 1) / rates.memory
