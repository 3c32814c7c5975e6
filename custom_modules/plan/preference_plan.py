"""What a run of `danube dpo` will be: pairs, steps, the adapter, FLOPs and GPU-hours. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from custom_modules.architecture.weights import Role
from custom_modules.config.dpo import DpoConfig, DpoModelConfig
from custom_modules.data.chat_manifest import ChatManifest, find_chat_manifest
from custom_modules.plan.duration import speed_of
from custom_modules.plan.flops import visible_pairs
from custom_modules.plan.parameters import count_parameters
from custom_modules.plan.render.words import count, duration, fact


@dataclass(frozen=True)
class PreferencePlan:
    """A DPO run. Tokens, bytes and FLOPs are exact under what the fields say is assumed."""

    name: str
    pairs: int
    """Of an epoch."""
    is_prepared: bool
    """Whether pairs and tokens are those of ``data.dir``; else what ``data.sources`` and ``tokens_per_sample`` say."""
    epochs: int
    global_batch_size: int
    micro_batch_size: int
    world_size: int
    steps_per_epoch: int
    left_out: int
    """Pairs of an epoch that would not make a whole batch."""
    steps: int
    tokens_per_pair: float
    """Of a prompt, twice, and both answers, on average."""
    total_tokens: int
    parameters: int
    adapter_parameters: int
    recomputes: bool
    """Whether the layers' activations are computed a second time."""
    flops: int
    """Of the whole run: the reference's pass is among them, and what is computed a second time."""
    device: str | None
    """What the hours are for; None: nothing is planned for a CPU."""
    mfu: float | None
    """The share of the device's peak that is assumed, or given."""
    gpu_hours: float | None
    weights_bytes: int
    """Of a device: the frozen model in fp32."""
    adapter_bytes: int
    """Of a device: the adapter with gradients and Adam's moments, in fp32."""

    @property
    def hours(self) -> float | None:
        """Hours on all devices."""
        return None if self.gpu_hours is None else self.gpu_hours / self.world_size


def plan_preferences(config: DpoConfig, mfu: float | None = None, gpu: str | None = None) -> PreferencePlan | None:
    """Plan a DPO run; None where nothing says how many pairs there are.

    Args:
        mfu: a fraction of the peak; None: assumed.
        gpu: any usual name of the device.

    Raises:
        UserError: an MFU outside (0, 1], or a device that is not in the table.
    """
    manifest = _prepared(config)
    pairs = manifest.splits["train"].samples if manifest else config.data.expected_samples
    if not pairs:
        return None
    model, epochs = config.model, config.trainer.max_epochs
    steps = pairs // model.global_batch_size
    prepared = manifest.splits["train"].tokens / pairs if manifest else None
    tokens = config.data.tokens_per_sample if prepared is None else prepared
    trained = epochs * steps * model.global_batch_size
    recomputes = model.activations_checkpoint_granularity == "full"
    flops = round(trained * _flops_of_pair(model, tokens, recomputes))
    speed = speed_of(config.trainer, mfu, gpu)
    total, adapter = count_parameters(model).total, adapter_parameters(model)
    return PreferencePlan(
        name=config.name,
        pairs=pairs,
        is_prepared=manifest is not None,
        epochs=epochs,
        global_batch_size=model.global_batch_size,
        micro_batch_size=model.micro_batch_size,
        world_size=config.trainer.world_size,
        steps_per_epoch=steps,
        left_out=pairs % model.global_batch_size,
        steps=steps * epochs,
        tokens_per_pair=tokens,
        total_tokens=round(trained * tokens),
        parameters=total,
        adapter_parameters=adapter,
        recomputes=recomputes,
        flops=flops,
        device=speed.device if speed else None,
        mfu=speed.mfu if speed else None,
        gpu_hours=flops / speed.flops / 3600 if speed else None,
        weights_bytes=4 * total,
        adapter_bytes=16 * adapter,
    )


def adapter_parameters(model: DpoModelConfig) -> int:
    """Count those of an adapter on every linear of the layers: for each, rank times inputs and outputs."""
    linears = [
        shape
        for weight in model.weights
        if weight.is_layers and weight.role in (Role.ATTENTION, Role.MLP)
        for shape in weight.parts.values()
        if len(shape) == 2
    ]
    return model.num_layers * sum(model.peft.lora_tuning.adapter_dim * sum(shape) for shape in linears)


def as_json(plan: PreferencePlan) -> str:
    """The whole plan as one JSON object, with the fields of `PreferencePlan`, nothing rounded."""
    return json.dumps({**asdict(plan), "hours": plan.hours}, indent=2, allow_nan=False)


def render_text(plan: PreferencePlan) -> str:
    """Lines for people."""
    return "\n".join(_lines(plan))


def _lines(plan: PreferencePlan) -> Iterator[str]:
    epochs = count(plan.epochs, "epoch")
    yield f"{plan.name}: {plan.pairs:,} pairs in {count(plan.steps, 'step')} of {plan.global_batch_size:,} and {epochs}"
    source = "as prepared" if plan.is_prepared else "assumed: data.sources' max_samples and data.tokens_per_sample"
    yield fact("pairs", f"{plan.tokens_per_pair:,.0f} tokens each, both sides with their prompt; {source}")
    if plan.left_out:
        yield fact("left out", f"{plan.left_out:,} of each epoch, which would not make a whole batch")
    accumulation = plan.global_batch_size // (plan.micro_batch_size * plan.world_size)
    devices = f"devices {plan.world_size:,} x micro-batch {plan.micro_batch_size:,} x accumulation {accumulation:,}"
    yield fact("batch", f"{plan.global_batch_size:,} = {devices}")
    yield fact("parameters", f"{plan.parameters:,}, frozen; an adapter of {plan.adapter_parameters:,} is trained")
    again = ", the layers once more, as they are recomputed," if plan.recomputes else ""
    yield fact(
        "compute",
        f"{plan.flops:.3e} FLOPs over {plan.total_tokens:,} tokens: a pass forward of the model and one of the "
        f"reference{again} and one backward to the activations, since the weights are frozen",
    )
    if plan.gpu_hours is not None and plan.hours is not None and plan.mfu is not None:
        step = 1000 * 3600 * plan.hours / plan.steps
        yield fact(
            "GPU-hours",
            f"{plan.gpu_hours:,.1f} at least: on {plan.device} at an MFU of {plan.mfu:.0%} (--mfu), {step:,.0f} ms a "
            f"step, which so few tokens may not reach; {duration(plan.hours)} on {plan.world_size:,}",
        )
    yield fact(
        "memory",
        f"{plan.weights_bytes / 2**30:,.2f} GiB of weights in fp32 and {plan.adapter_bytes / 2**30:,.2f} GiB of the "
        "adapter with its gradients and moments on each device, beside activations, which are not estimated",
    )


def _flops_of_pair(model: DpoModelConfig, tokens: float, recomputes: bool) -> float:
    """Return the FLOPs of a pair whose two sides are equally long.

    A pass forward is 2 FLOPs a parameter and token, and attention. Backward, frozen weights need no gradient of their
    own: it is as much again, but for attention's twice as much. The adapter's own are left out: some thousandths.
    """
    length = max(1, round(tokens / 2))
    counts = count_parameters(model)
    width = model.num_attention_heads * model.head_dim
    layers = 2 * model.num_layers * counts.layer_linears * length
    attention = 4 * model.num_layers * width * visible_pairs(length, model.sliding_window)
    head = 2 * counts.output * length
    forward = layers + attention + head
    backward = layers + 2 * attention + head
    return 2 * (2 * forward + backward + (layers + attention if recomputes else 0))


def _prepared(config: DpoConfig) -> ChatManifest | None:
    found = find_chat_manifest(Path(config.data.dir))
    return found if found is not None and found.kind == "pairs" else None
