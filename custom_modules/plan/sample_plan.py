"""What a run of `danube sft` will be: samples, steps, tokens, memory and GPU-hours. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from custom_modules.config.sft import SftConfig
from custom_modules.config.stages import Curriculum
from custom_modules.data.chat_manifest import ChatManifest, find_chat_manifest
from custom_modules.plan.duration import speed_of
from custom_modules.plan.flops import flops_per_sequence
from custom_modules.plan.memory import OUTSIDE_TORCH, DeviceMemory, checkpoint_bytes, fullest_device
from custom_modules.plan.parameters import count_parameters
from custom_modules.plan.render.words import count, duration, fact
from custom_modules.text import decimal_bytes


@dataclass(frozen=True)
class SamplePlan:
    """A fine-tuning run. Tokens and FLOPs are of samples without what pads them."""

    name: str
    samples: int
    """Of an epoch."""
    is_prepared: bool
    """Whether samples and tokens are those of ``data.dir``; else they follow from ``max_samples`` and
    ``tokens_per_sample``."""
    epochs: int
    global_batch_size: int
    micro_batch_size: int
    data_parallel_size: int
    world_size: int
    steps_per_epoch: int
    last_batch: int
    """Samples of an epoch's last step."""
    steps: int
    tokens_per_sample: float
    total_tokens: int
    warmup_tokens: int
    longest: int
    """Tokens of a sample, at most."""
    parameters: int
    flops: int
    """Of the whole run, as if each sample were as long as the mean: attention over longer ones takes more."""
    device: str | None
    """What the hours are for; None: nothing is planned for a CPU."""
    device_memory_bytes: int | None
    mfu: float | None
    """The share of the device's peak that is assumed, or given."""
    gpu_hours: float | None
    memory: DeviceMemory
    """Of the fullest device, in a step of samples of the greatest length."""
    checkpoint_bytes: int

    @property
    def hours(self) -> float | None:
        """Hours on all devices."""
        return None if self.gpu_hours is None else self.gpu_hours / self.world_size


def plan_samples(config: SftConfig, mfu: float | None = None, gpu: str | None = None) -> SamplePlan | None:
    """Plan a fine-tuning run; None where nothing says how many samples there are.

    Args:
        mfu: a fraction of the peak; None: assumed.
        gpu: any usual name of the device.

    Raises:
        UserError: an MFU outside (0, 1], or a device that is not in the table.
    """
    manifest = _prepared(config)
    samples = manifest.splits["train"].samples if manifest else config.data.expected_samples
    if not samples:
        return None
    model, epochs = config.model, config.trainer.max_epochs
    prepared = manifest.splits["train"].tokens if manifest else samples * config.data.tokens_per_sample
    steps = -(-samples // model.global_batch_size)
    tokens = prepared / samples
    flops = epochs * samples * flops_per_sequence(model, max(1, round(tokens)))
    speed = speed_of(config.trainer, mfu, gpu)
    [stage] = Curriculum.from_config(config).stages
    return SamplePlan(
        name=config.name,
        samples=samples,
        is_prepared=manifest is not None,
        epochs=epochs,
        global_batch_size=model.global_batch_size,
        micro_batch_size=model.micro_batch_size,
        data_parallel_size=config.data_parallel_size,
        world_size=config.trainer.world_size,
        steps_per_epoch=steps,
        last_batch=samples - (steps - 1) * model.global_batch_size,
        steps=steps * epochs,
        tokens_per_sample=tokens,
        total_tokens=epochs * prepared,
        warmup_tokens=config.warmup_tokens(epochs * prepared),
        longest=model.encoder_seq_length,
        parameters=count_parameters(model).total,
        flops=flops,
        device=speed.device if speed else None,
        device_memory_bytes=speed.memory_bytes if speed else None,
        mfu=speed.mfu if speed else None,
        gpu_hours=flops / speed.flops / 3600 if speed else None,
        memory=fullest_device(config, stage),
        checkpoint_bytes=checkpoint_bytes(config),
    )


def as_json(plan: SamplePlan) -> str:
    """The whole plan as one JSON object, with the fields of `SamplePlan`, nothing rounded."""
    return json.dumps({**asdict(plan), "hours": plan.hours}, indent=2, allow_nan=False)


def render_text(plan: SamplePlan) -> str:
    """Lines for people."""
    return "\n".join(_lines(plan))


def _lines(plan: SamplePlan) -> Iterator[str]:
    epochs = count(plan.epochs, "epoch")
    steps = f"{count(plan.steps, 'step')} of {plan.global_batch_size:,}"
    yield f"{plan.name}: {plan.samples:,} samples in {steps} and {epochs}"
    source = "as prepared" if plan.is_prepared else "assumed: data.sources' max_samples and data.tokens_per_sample"
    yield fact("samples", f"{plan.tokens_per_sample:,.0f} tokens each, at most {plan.longest:,}; {source}")
    accumulation = -(-plan.global_batch_size // (plan.micro_batch_size * plan.data_parallel_size))
    yield fact(
        "batch",
        f"{plan.global_batch_size:,} = data-parallel {plan.data_parallel_size:,} x micro-batch "
        f"{plan.micro_batch_size:,} x accumulation {accumulation:,}; an epoch's last step has {plan.last_batch:,}",
    )
    yield fact("tokens", f"{plan.total_tokens:,}, without padding; the learning rate rises over {plan.warmup_tokens:,}")
    yield fact("parameters", f"{plan.parameters:,}, all trained")
    yield fact("compute", f"{plan.flops:.3e} FLOPs, as if all samples were as long as the mean")
    if plan.gpu_hours is not None and plan.hours is not None and plan.mfu is not None:
        step = 1000 * 3600 * plan.hours / plan.steps
        yield fact(
            "GPU-hours",
            f"{plan.gpu_hours:,.1f} at least: on {plan.device} at an MFU of {plan.mfu:.0%} (--mfu), {step:,.0f} ms a "
            f"step, which so few tokens may not reach; {duration(plan.hours)} on {plan.world_size:,}",
        )
    yield fact("memory", _memory(plan))
    yield fact("disk", f"{decimal_bytes(plan.checkpoint_bytes)} a checkpoint")


def _memory(plan: SamplePlan) -> str:
    memory = plan.memory
    lasting = memory.weights + memory.gradients + memory.optimizer
    said = (
        f"{memory.total / 2**30:,.2f} GiB on the fullest device with samples of {plan.longest:,} tokens: "
        f"{lasting / 2**30:,.2f} of weights, gradients and moments, the rest activations and the loss"
    )
    if plan.device is None or plan.device_memory_bytes is None:
        return said
    left = plan.device_memory_bytes - OUTSIDE_TORCH - memory.total
    room = (
        f"the {plan.device_memory_bytes / 2**30:,.0f} GiB of {plan.device}, of which CUDA and NCCL are taken to need "
    )
    room += f"{OUTSIDE_TORCH / 2**30:,.0f} (assumed)"
    if left >= 0:
        return f"{said}; by this estimate it fits {room}, and {left / 2**30:,.1f} are left"
    return (
        f"{said}; by this estimate it will not fit {room}: set model.activations_checkpoint_granularity=full or "
        "model.cross_entropy_chunk_size=2048, or divide the model over more devices"
    )


def _prepared(config: SftConfig) -> ChatManifest | None:
    found = find_chat_manifest(Path(config.data.dir))
    return found if found is not None and found.kind == "conversations" else None
