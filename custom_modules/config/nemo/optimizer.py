"""NeMo's keys of the optimizer and of the learning rate's schedule, in both versions."""

from __future__ import annotations

from typing import Any

from custom_modules.config.nemo.fates import (
    COMPARED,
    NOTHING,
    Fate,
    NemoKey,
    Outcome,
    anyway,
    refused,
    renamed,
    same,
    section,
    translated,
)
from custom_modules.config.nemo.settings import Refused, Settings, as_value
from custom_modules.config.nemo.trainer import whole_number

WARMUP = "model.optim.sched.warmup_tokens"
NAMES = {
    "fused_adam": "adamw",
    "adam": "adamw",
    "megatron_fused_adam": "adamw",
    "mcore_distributed_optim": "distributed_fused_adam",
    "distributed_adam": "distributed_fused_adam",
}
"""NeMo's optimizers that are Adam with decoupled weight decay, by what divides its state here."""
MOMENTS = "moments are kept in fp32"
CONSTANT = "the cosine falls from the end of the warm-up to the end of the run"


def _warmup_steps(value: Any, settings: Settings) -> Outcome:
    if as_value(value) == 0:
        return Outcome({WARMUP: 0})
    steps = whole_number(value, "steps")
    return Outcome({WARMUP: sum(part.tokens for part in settings.steps_by_stage(steps))}, f"{steps:,} steps")


def _warmup_ratio(value: Any, settings: Settings) -> Outcome:
    ratio = as_value(value)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio < 1:
        raise Refused("needs a share of the run, from 0 to below 1")
    total = sum(settings.whole(f"curriculum.stages.{name}.tokens") for name in settings.stages)
    return Outcome({WARMUP: round(ratio * total)}, f"{ratio:g} of {total:,} tokens")


def _sched_steps(value: Any, settings: Settings) -> Outcome:
    if as_value(value) in (-1, None):
        return NOTHING
    steps = whole_number(value, "steps")
    total = settings.total_steps()
    if steps != total:
        raise Refused(
            f"the learning rate falls until the end of the run, {total:,} steps; set trainer.max_steps={steps}, or "
            "leave it out"
        )
    return NOTHING


def _distributed(value: Any, settings: Settings) -> Outcome:
    divided = as_value(value)
    if not isinstance(divided, bool):
        raise Refused("needs true or false; or set model.optim.name")
    return Outcome({"model.optim.name": "distributed_fused_adam" if divided else "adamw"})


def _beta(number: int, name: str) -> NemoKey:
    def read(value: Any, settings: Settings) -> Outcome:
        betas = settings.get("model.optim.betas")
        if not isinstance(betas, (list, tuple)) or len(betas) != 2:
            raise Refused("needs model.optim.betas")
        changed = list(betas)
        changed[number] = value
        return Outcome({"model.optim.betas": changed})

    return translated(name, ("model.optim.betas",), "`model.optim.betas`", read)


def _sched(prefix: str) -> tuple[NemoKey, ...]:
    return (
        translated(f"{prefix}.warmup_steps", (WARMUP,), f"`{WARMUP}`: as many steps' tokens", _warmup_steps),
        translated(f"{prefix}.warmup_ratio", (WARMUP,), f"`{WARMUP}`: that share of all tokens", _warmup_ratio),
        anyway(f"{prefix}.constant_steps", (0, None), CONSTANT, f"{CONSTANT}: set it to 0"),
        anyway(f"{prefix}.constant_ratio", (0, None), CONSTANT, f"{CONSTANT}: set it to 0"),
        NemoKey(
            f"{prefix}.max_steps",
            Fate.ANYWAY,
            "the run's steps: the learning rate falls until its end",
            _sched_steps,
            order=COMPARED,
        ),
    )


OPTIMIZER = (
    same("model.optim.name", "the same; " + ", ".join(f"`{nemo}`: `{ours}`" for nemo, ours in NAMES.items()), NAMES),
    *(
        same(f"model.optim.{name}")
        for name in ("lr", "weight_decay", "betas", "eps", "overlap_grad_sync", "overlap_param_sync")
    ),
    same("model.optim.clip_grad"),
    same(
        "model.optim.grad_sync_dtype",
        "the same: `fp32` or `bf16`",
        {32: "fp32", "torch.float32": "fp32", "torch.bfloat16": "bf16", "bfloat16": "bf16", "float32": "fp32"},
    ),
    same("model.optim.sched.name"),
    same("model.optim.sched.min_lr"),
    *_sched("model.optim.sched"),
    anyway("model.optim.contiguous_grad_buffer", (True,), "gradients lie in one buffer"),
    anyway("model.optim.contiguous_param_buffer", (True,), "weights are gathered from one buffer"),
    refused("model.optim.bucket_cap_mb", "megatron-core sizes the pieces in which gradients are reduced; leave it out"),
    refused("model.optim.param_sync_dtype", "weights are gathered in what the run computes in; leave it out"),
    anyway("model.optim.capturable", (False,), "there are no CUDA graphs"),
    anyway("model.optim.amsgrad", (False,), "the optimizer is Adam with decoupled weight decay"),
    anyway("model.optim.adam_w_mode", (True,), "weight decay is decoupled"),
    anyway("model.optim.bias_correction", (True,), "moments are corrected for their beginning"),
    anyway("model.optim.dtype", ("fp32", "torch.float32", 32), MOMENTS),
    anyway("model.optim.store_param_remainders", (False,), "fp32 weights are kept whole"),
)

NEMO_2 = (
    anyway("optim.config.optimizer", ("adam",), "the optimizer is Adam with decoupled weight decay"),
    renamed("optim.config.lr", "model.optim.lr"),
    renamed("optim.lr", "model.optim.lr"),
    renamed("optim.config.weight_decay", "model.optim.weight_decay"),
    renamed("optim.config.adam_eps", "model.optim.eps"),
    _beta(0, "optim.config.adam_beta1"),
    _beta(1, "optim.config.adam_beta2"),
    renamed("optim.config.clip_grad", "model.optim.clip_grad"),
    renamed("optim.config.min_lr", "model.optim.sched.min_lr"),
    translated(
        "optim.config.use_distributed_optimizer",
        ("model.optim.name",),
        "`model.optim.name`: `distributed_fused_adam` or `adamw`",
        _distributed,
    ),
    renamed("optim.config.overlap_param_gather", "model.optim.overlap_param_sync"),
    anyway("optim.config.use_precision_aware_optimizer", (False,), MOMENTS),
    *(
        anyway(f"optim.config.{name}", ("torch.float32", "fp32", 32), MOMENTS)
        for name in ("main_grads_dtype", "main_params_dtype", "exp_avg_dtype", "exp_avg_sq_dtype")
    ),
    anyway("optim.config.fp16", (False,), "there is no fp16", "set trainer.precision=bf16-mixed"),
    anyway("optim.config.decoupled_weight_decay", (True,), "weight decay is decoupled"),
    renamed("optim.config.bf16", "trainer.precision", {True: "bf16-mixed", False: "32-true"}),
    section("optim.config", "is not here; of the optimizer, the keys in model.optim can be set"),
    *_sched("optim.lr_scheduler"),
    renamed("optim.lr_scheduler.min_lr", "model.optim.sched.min_lr"),
    section(
        "optim.lr_scheduler", "is not here; of the schedule, model.optim.sched.warmup_tokens and min_lr can be set"
    ),
)
