"""NeMo's keys of what is computed in which precision, by which kernels, and how that is watched."""

from __future__ import annotations

from typing import Any

from custom_modules.config.nemo.fates import (
    NOTHING,
    REST,
    Fate,
    NemoKey,
    Outcome,
    anyway,
    refused,
    renamed,
    same,
    unread,
    unread_section,
)
from custom_modules.config.nemo.settings import Refused, Settings, as_value

FP16 = "fp16 alone has a loss scale, and there is no fp16"
KERNELS = "on wherever there is the kernel for it"
ATTENTION = "no attention here keeps its scores"
NSIGHT = "`nsys profile` can be put before the command, and `danube bench` times a step's parts"
OFFLOADING = "nothing is moved to the CPU; model.activations_checkpoint_granularity saves memory"
GRAPHS = "there are no CUDA graphs"


def _fp8(value: Any, settings: Settings) -> Outcome:
    """NeMo 1 says whether, and which kind with two more keys."""
    value = as_value(value)
    if value is True:
        return Outcome({"model.fp8": "e4m3" if as_value(settings.get("model.fp8_e4m3")) else "hybrid"})
    return Outcome({"model.fp8": None}) if value is False else NOTHING


def _kind(kind: str) -> NemoKey:
    name = f"model.fp8_{kind}"

    def read(value: Any, settings: Settings) -> Outcome:
        on, fp8 = as_value(value), as_value(settings.get("model.fp8"))
        if not isinstance(on, bool):
            raise Refused("needs true or false; or set model.fp8=hybrid or e4m3")
        if fp8 is None:
            return Outcome({}, "only FP8 reads it")
        e4m3 = as_value(settings.get("model.fp8_e4m3"))
        if on:
            # Where both are true, NeMo has e4m3.
            return NOTHING if fp8 == kind or (e4m3 and fp8 == "e4m3") else Outcome({"model.fp8": kind})
        if fp8 == kind:
            raise Refused("one kind of FP8 is needed: set model.fp8=hybrid or e4m3, or null")
        return NOTHING

    here = f"`model.fp8={kind}`, where FP8 is on"
    return NemoKey(name, Fate.TRANSLATED, here, read, ("model.fp8",), order=REST if kind == "e4m3" else REST + 1)


PRECISION = (
    NemoKey(
        "model.fp8",
        Fate.SAME,
        "the same; true: `hybrid`, or `e4m3` with `fp8_e4m3=true`; false: null",
        _fp8,
        ("model.fp8",),
        order=REST - 1,
    ),
    _kind("e4m3"),
    _kind("hybrid"),
    same("model.fp8_recipe"),
    same("model.fp8_margin"),
    same("model.fp8_amax_history_len"),
    same("model.fp8_amax_compute_algo"),
    same("model.first_last_layers_bf16"),
    same("model.num_layers_at_start_in_bf16"),
    same("model.num_layers_at_end_in_bf16"),
    same("model.transformer_engine"),
    anyway("model.fp8_interval", (1,), "scales are renewed in every step"),
    anyway("model.fp8_params", (False, None), "weights are kept in bf16 and fp32"),
    anyway("model.fp8_wgrad", (True,), "the gradients of weights are computed in FP8 too"),
    anyway("model.fp8_dot_product_attention", (False, 0), "attention computes in bf16"),
    anyway("model.fp8_multi_head_attention", (False, 0), "attention computes in bf16"),
    anyway("model.fp8_debug", (False,), "Transformer Engine's debugging is off"),
    unread("model.fp8_debug_log_dir", "Transformer Engine's debugging is off"),
    unread("model.skip_fp8_attention_checkpoint_load", "attention computes in bf16"),
    anyway("model.reduce_amax", (True,), "the largest values are those of all devices"),
    anyway("model.use_emha", (False,), "attention is Transformer Engine's"),
    unread("model.use_te_rng_tracker", "nothing is drawn while training, as there is no dropout"),
    anyway("model.use_flash_attention", (True,), ATTENTION),
    anyway("model.megatron_amp_O2", (True,), "beside bf16 weights stand fp32 ones, which the optimizer updates"),
    *(unread(f"model.{name}", FP16) for name in ("native_amp_init_scale", "native_amp_growth_interval", "hysteresis")),
    anyway("model.fp32_residual_connection", (False,), "the residual stream is in bf16"),
    anyway("model.fp16_lm_cross_entropy", (False,), "the loss is computed in fp32"),
    anyway(
        "model.fp32_grad_accum",
        (True,),
        "model.optim.grad_sync_dtype says what gradients are added up in",
        "set model.optim.grad_sync_dtype=bf16",
    ),
    anyway(
        "model.with_fp32_embedding_grads",
        (True,),
        "model.optim.grad_sync_dtype says what gradients are added up in",
        "set model.optim.grad_sync_dtype=bf16",
    ),
    anyway("model.gradient_as_bucket_view", (True,), "gradients lie in one buffer"),
    anyway("model.contiguous_grad_bucket", (True,), "gradients lie in one buffer"),
    renamed("model.async_grad_allreduce", "model.optim.overlap_grad_sync"),
    refused(
        "model.grad_allreduce_chunk_size_mb",
        "megatron-core sizes the pieces in which gradients are reduced; leave it out",
    ),
    refused(
        "model.distributed_adam_bucket_merge_size",
        "megatron-core sizes the pieces in which gradients are reduced; leave it out",
    ),
    unread("model.grad_div_ar_fusion", "gradients are divided by the batch's tokens when they are added up"),
    anyway("model.validation_param_sync_overlap", (False,), "weights are whole before a validation"),
    anyway("model.defer_embedding_wgrad_compute", (False,), "the embedding's gradient is computed in its turn"),
    *(
        anyway(f"model.{name}", (True,), KERNELS, f"{KERNELS}; leave it out")
        for name in (
            "gradient_accumulation_fusion",
            "bias_activation_fusion",
            "apply_rope_fusion",
        )
    ),
    unread("model.bias_dropout_add_fusion", "there is neither bias nor dropout to fuse with the addition"),
    anyway("model.masked_softmax_fusion", (False,), ATTENTION),
    anyway("model.get_attention_mask_from_fusion", (True,), "attention makes its mask itself"),
    anyway("model.persist_layer_norm", (False,), "norms are rmsnorm, which Apex's persistent kernel is not for"),
    anyway("model.enable_cuda_graph", (False,), GRAPHS),
    anyway("model.cpu_offloading", (False,), OFFLOADING, OFFLOADING),
    *(
        unread(f"model.cpu_offloading_{name}", "nothing is moved to the CPU")
        for name in ("num_layers", "activations", "weights")
    ),
    unread("model.apex_transformer_log_level", "Apex logs nothing here"),
    same("model.gc_interval", "the same: steps, and 0 for Python's own rule; another default than NeMo's 0"),
    anyway(
        "model.enable_megatron_timers",
        (False,),
        "there are no timers in training",
        "there are no timers in training; `danube bench` times a step's parts",
    ),
    unread_section("model.megatron_timer_kwargs", "there are no timers in training"),
    anyway("model.nsys_profile.enabled", (False,), "nothing is profiled", NSIGHT),
    unread_section("model.nsys_profile", "nothing is profiled"),
    anyway(
        "model.memory_profile.enabled",
        (False,),
        "nothing is profiled",
        "the dry run says what memory each stage takes: set trainer.dry_run=true",
    ),
    unread_section("model.memory_profile", "nothing is profiled"),
    *(
        anyway(f"model.dist_ckpt_{name}", (value,), why)
        for name, value, why in (
            ("format", "torch_dist", "checkpoints are megatron-core's torch_dist"),
            ("parallel_save", True, "every rank writes its share"),
            ("parallel_save_within_dp", False, "every rank writes its share"),
            ("parallel_dist_opt", True, "every rank writes its share of the optimizer's state, for any layout to read"),
            ("assume_constant_structure", False, "every checkpoint is planned anew"),
            ("load_on_device", True, "a checkpoint is read to where the weights are"),
            ("parallel_load", False, "every rank reads what it needs"),
            ("torch_dist_multiproc", 1, "each rank writes in its own process"),
            ("load_strictness", None, "a checkpoint has to fit the model, weight by weight"),
        )
    ),
)
