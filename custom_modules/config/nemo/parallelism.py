"""NeMo's keys of how a model is divided, and of what is computed again."""

from __future__ import annotations

from custom_modules.config.nemo.fates import anyway, matching, renamed, same, section, unread, with_fsdp
from custom_modules.config.nemo.settings import as_value

FSDP_DTYPES = {32: "fp32", "fp32": "fp32", "bf16": "bf16", "bf16-mixed": "bf16"}

PARALLELISM = (
    *(
        same(f"model.{name}")
        for name in (
            "tensor_model_parallel_size",
            "pipeline_model_parallel_size",
            "virtual_pipeline_model_parallel_size",
            "context_parallel_size",
            "sequence_parallel",
            "overlap_p2p_comm",
            "fsdp",
            "cp_comm_type",
            "activations_checkpoint_granularity",
            "activations_checkpoint_method",
            "activations_checkpoint_num_layers",
            "recompute_modules",
        )
    ),
    renamed("model.recompute_granularity", "model.activations_checkpoint_granularity"),
    renamed("model.recompute_method", "model.activations_checkpoint_method"),
    renamed("model.recompute_num_layers", "model.activations_checkpoint_num_layers"),
    anyway(
        "model.num_micro_batches_with_partial_activation_checkpoints",
        (None,),
        "every micro-batch is computed again alike",
    ),
    anyway(
        "model.activations_checkpoint_layers_per_pipeline", (None,), "every pipeline rank computes as many layers again"
    ),
    anyway("model.pipeline_model_parallel_split_rank", (None, 0), "a decoder alone is trained"),
    matching(
        "model.batch_p2p_comm",
        lambda settings: (
            not (
                as_value(settings.get("model.overlap_p2p_comm"))
                and as_value(settings.get("model.virtual_pipeline_model_parallel_size"))
            )
        ),
        "messages are batched unless they overlap with computing",
        "it is {}, as it follows from model.overlap_p2p_comm and model.virtual_pipeline_model_parallel_size; "
        "leave it out",
    ),
    anyway("model.sync_batch_comm", (False,), "nothing waits after a message between pipeline ranks"),
    unread("model.use_cpu_initialization", "weights are drawn on the CPU, the same for one seed on every layout"),
    with_fsdp(anyway("model.fsdp_sharding_strategy", ("full",), "weights, gradients and moments are divided")),
    with_fsdp(renamed("model.fsdp_grad_reduce_dtype", "model.optim.grad_sync_dtype", FSDP_DTYPES)),
    with_fsdp(anyway("model.fsdp_sharded_checkpoint", (True,), "every rank writes its share of a checkpoint")),
    unread("model.fsdp_use_orig_params", "FSDP2 keeps the parameters"),
    anyway("model.use_tp_pp_dp_mapping", (False,), "ranks are ordered tensor, context, data, pipeline"),
    anyway(
        "model.nccl_communicator_config_path",
        (None,),
        "NCCL has its own settings",
        "set NCCL's environment variables, which are passed on",
    ),
    anyway(
        "model.sharp",
        (False,),
        "NCCL decides",
        "NCCL uses SHARP where NCCL_COLLNET_ENABLE=1 is in the environment; leave it out",
    ),
    anyway("model.ub_tp_comm_overlap", (False,), "tensor-parallel messages go through NCCL"),
    unread("model.ub_tp_comm_overlap_cfg", "tensor-parallel messages go through NCCL"),
    section("model.ub_tp_comm_overlap_cfg", "tensor-parallel messages go through NCCL; leave it out"),
)
