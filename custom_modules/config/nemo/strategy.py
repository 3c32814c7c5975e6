"""NeMo 2's keys of the trainer's strategy: how a model is divided, and how checkpoints are written."""

from __future__ import annotations

from custom_modules.config.nemo.fates import anyway, renamed, section, unread
from custom_modules.config.nemo.trainer import every_steps

STRATEGY_SIZES = (
    "tensor_model_parallel_size",
    "pipeline_model_parallel_size",
    "virtual_pipeline_model_parallel_size",
    "context_parallel_size",
    "sequence_parallel",
)
"""Keys of NeMo 2's strategy that are the model's here."""


def _strategy(name: str) -> str:
    return f"trainer.strategy.{name}"


STRATEGY = (
    *(renamed(_strategy(name), f"model.{name}") for name in STRATEGY_SIZES),
    anyway(_strategy("expert_model_parallel_size"), (1, None), "there are no experts"),
    anyway(_strategy("expert_tensor_parallel_size"), (1, None), "there are no experts"),
    anyway(
        _strategy("pipeline_dtype"), (None, "torch.bfloat16", "bf16"), "activations travel in what the run computes in"
    ),
    anyway(_strategy("gradient_as_bucket_view"), (True,), "gradients lie in one buffer"),
    anyway(_strategy("find_unused_parameters"), (False,), "every weight is used in every step"),
    anyway(
        _strategy("account_for_embedding_in_pipeline_split"), (False,), "a pipeline's ranks have as many layers each"
    ),
    anyway(_strategy("account_for_loss_in_pipeline_split"), (False,), "a pipeline's ranks have as many layers each"),
    anyway(_strategy("num_layers_in_first_pipeline_stage"), (None,), "a pipeline's ranks have as many layers each"),
    anyway(_strategy("num_layers_in_last_pipeline_stage"), (None,), "a pipeline's ranks have as many layers each"),
    anyway(_strategy("pipeline_model_parallel_layout"), (None,), "a pipeline's ranks have as many layers each"),
    anyway(
        _strategy("num_distributed_optimizer_instances"), (1,), "the optimizer is divided over all data-parallel ranks"
    ),
    unread(_strategy("use_te_rng_tracker"), "nothing is drawn while training, as there is no dropout"),
    anyway(_strategy("use_sharp"), (False,), "NCCL decides; its environment variables are passed on"),
    anyway(_strategy("use_tp_pp_dp_mapping"), (False,), "ranks are ordered tensor, context, data, pipeline"),
    anyway(_strategy("setup_optimizers"), (True,), "a run trains"),
    anyway(
        _strategy("ckpt_load_optimizer"),
        (True,),
        "a run goes on with its optimizer's state",
        "a run goes on with its optimizer's state; for weights alone set model.restore_from_path",
    ),
    anyway(_strategy("ckpt_save_optimizer"), (True,), "a checkpoint has the optimizer's state"),
    anyway(_strategy("save_ckpt_format"), ("torch_dist",), "checkpoints are megatron-core's torch_dist"),
    anyway(_strategy("ckpt_async_save"), (False,), "the run waits until a checkpoint is whole"),
    anyway(_strategy("ckpt_parallel_save"), (True,), "every rank writes its share"),
    anyway(_strategy("ckpt_parallel_save_optim"), (True,), "every rank writes its share"),
    anyway(_strategy("ckpt_parallel_save_within_dp"), (False,), "every rank writes its share"),
    anyway(_strategy("ckpt_assume_constant_structure"), (False,), "every checkpoint is planned anew"),
    anyway(_strategy("ckpt_load_strictness"), (None,), "a checkpoint has to fit the model, weight by weight"),
    every_steps(_strategy("progress_interval"), "trainer.log_every_n_tokens"),
    unread(_strategy("replace_progress_bar"), "there is no progress bar"),
    renamed(_strategy("fsdp"), "model.fsdp", {"pytorch": True, True: True, False: False}),
    renamed(_strategy("ddp.overlap_grad_reduce"), "model.optim.overlap_grad_sync"),
    renamed(_strategy("ddp.overlap_param_gather"), "model.optim.overlap_param_sync"),
    renamed(_strategy("ddp.grad_reduce_in_fp32"), "model.optim.grad_sync_dtype", {True: "fp32", False: "bf16"}),
    renamed(
        _strategy("ddp.use_distributed_optimizer"), "model.optim.name", {True: "distributed_fused_adam", False: "adamw"}
    ),
    anyway(
        _strategy("ddp.check_for_nan_in_grad"), (True,), "a loss or a gradient norm that is not finite ends the run"
    ),
    anyway(
        _strategy("ddp.average_in_collective"), (False,), "gradients are added up, and divided by the batch's tokens"
    ),
    section(
        "trainer.strategy",
        "is not here; parallelism is set by model.tensor_model_parallel_size, pipeline_model_parallel_size, "
        "context_parallel_size, sequence_parallel and fsdp",
    ),
)
