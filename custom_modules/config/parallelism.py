"""How a model can be divided over devices, and how not, found before anything is started."""

from __future__ import annotations

from custom_modules.config.schema import ModelConfig, TrainingConfig
from custom_modules.config.stage_keys import key_in_stage
from custom_modules.errors import UserError


def check_parallelism(config: TrainingConfig) -> None:
    """Refuse parallel sizes that do not fit the model, the devices or one another.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    _check_tensor(config)
    _check_pipeline(config)
    _check_context(config)
    _check_devices(config)


def check_stage_parallelism(config: TrainingConfig, stage: str, length: int, num_microbatches: int) -> None:
    """Refuse, as `check_parallelism` does, what depends on a stage.

    Args:
        length: of its sequences.
        num_microbatches: that a device passes through in a step.
    """
    model = config.model
    tensor, group = model.tensor_model_parallel_size, model.micro_batch_group
    context = model.context_parallel_size
    if context > 1 and length % (2 * context):
        raise UserError(
            f"model.context_parallel_size={context}: needs a multiple of twice as many tokens a sequence, and {stage} "
            f"has {length}; use a length of {near(length, 2 * context)}, or another size"
        )
    if model.sequence_parallel and length // context % tensor:
        raise UserError(
            f"model.sequence_parallel=true: model.tensor_model_parallel_size={tensor} does not divide {stage}'s "
            f"{length // context} tokens on each of its ranks; use a length of {near(length, tensor * context)}, or "
            "model.sequence_parallel=false"
        )
    if num_microbatches % group:
        batch_key = key_in_stage(config, stage, "global_batch_tokens")
        raise UserError(
            f"model.virtual_pipeline_model_parallel_size={model.virtual_pipeline_model_parallel_size}: "
            f"interleaving takes micro-batches {group} at a time (model.pipeline_model_parallel_size), and {stage} has "
            f"{num_microbatches} on each device; change curriculum.stages.{stage}.micro_batch_size or "
            f"{batch_key}, or set model.virtual_pipeline_model_parallel_size=null"
        )


def near(value: int, multiple: int) -> str:
    """The multiples around a value, for messages."""
    below, above = value // multiple * multiple, -(-value // multiple) * multiple
    return " or ".join(str(candidate) for candidate in (below, above) if candidate > 0)


def _check_tensor(config: TrainingConfig) -> None:
    model = config.model
    tensor = model.tensor_model_parallel_size
    divided = [weight.dimensions[weight.tensor_axis] for weight in model.weights if weight.tensor_axis is not None]
    # Rows of the vocabulary are padded to what divides.
    keys = dict.fromkeys(key for dimension in divided for key in dimension.keys if key != "vocab_size")
    for key in keys:
        value = getattr(model, key)
        if value % tensor:
            raise UserError(
                f"model.tensor_model_parallel_size={tensor}: does not divide model.{key}={value}; "
                f"use a divisor of {value}"
            )
    if model.sequence_parallel and tensor == 1:
        raise UserError(
            "model.sequence_parallel=true: divides what tensor parallelism leaves whole, and there is none; set "
            "model.tensor_model_parallel_size above 1, or model.sequence_parallel=false"
        )


def _check_pipeline(config: TrainingConfig) -> None:
    model = config.model
    pipeline, chunks = model.pipeline_model_parallel_size, model.virtual_pipeline_model_parallel_size
    if model.num_layers % pipeline:
        raise UserError(
            f"model.pipeline_model_parallel_size={pipeline}: does not divide model.num_layers={model.num_layers}; "
            f"use a divisor of {model.num_layers}"
        )
    if chunks is None:
        return
    key = f"model.virtual_pipeline_model_parallel_size={chunks}"
    if pipeline == 1:
        raise UserError(
            f"{key}: there is no pipeline to interleave; set model.pipeline_model_parallel_size above 1, or "
            "model.virtual_pipeline_model_parallel_size=null"
        )
    layers = model.num_layers // pipeline
    if layers % chunks:
        raise UserError(f"{key}: does not divide the {layers} layers of a pipeline rank; use a divisor of {layers}")
    if pipeline == 2 and not model.overlap_p2p_comm:
        raise UserError(
            f"model.overlap_p2p_comm=false: with {key} and a pipeline of 2, both neighbours of a rank are the same "
            "one, and megatron-core's batched messages get mixed up; set model.overlap_p2p_comm=true"
        )


def _check_context(config: TrainingConfig) -> None:
    """What Transformer Engine's attention asks; for the local one, so that a rehearsal is of what runs on a GPU."""
    model = config.model
    if model.context_parallel_size == 1:
        return
    key = f"model.cp_comm_type={model.cp_comm_type}"
    if model.cp_comm_type == "p2p" and model.sliding_window:
        raise UserError(
            f"{key}: cannot serve a window (model.sliding_window={model.sliding_window}); use all_gather or a2a"
        )
    if config.trainer.accelerator != "cpu" and config.may_use_transformer_engine and not config.has_fused_attention:
        raise UserError(
            f"model.context_parallel_size={model.context_parallel_size}: Transformer Engine's attention divides "
            f"sequences only where it is fused, in bf16 with a head dim of a multiple of 8 up to 256, and not with "
            f"trainer.precision={config.trainer.precision} and a head dim of {model.head_dim}; set "
            f"model.context_parallel_size=1{'' if model.fp8 else ', or model.transformer_engine=auto'}"
        )
    groups = model.num_query_groups // model.tensor_model_parallel_size
    if model.cp_comm_type == "a2a" and groups % model.context_parallel_size:
        raise UserError(
            f"{key}: deals out the {groups} query groups of a device, which model.context_parallel_size="
            f"{model.context_parallel_size} does not divide; use all_gather, or a divisor of {groups}"
        )


def _check_devices(config: TrainingConfig) -> None:
    world, share = config.trainer.world_size, config.model.model_parallel_size
    if world % share:
        name = "num_nodes" if config.trainer.num_nodes > 1 else "devices"
        raise UserError(
            f"trainer.{name}={getattr(config.trainer, name)}: devices x num_nodes = {world} is not a multiple of "
            f"tensor x pipeline x context parallel = {share}; use {near(world, share)} devices in all"
        )


def check_fsdp(config: TrainingConfig) -> None:
    """Refuse what FSDP does not go together with, and weights that its ranks do not divide.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    model, optim = config.model, config.model.optim
    if not model.fsdp:
        return
    for key in ("tensor_model_parallel_size", "pipeline_model_parallel_size"):
        if getattr(model, key) > 1:
            raise UserError(
                f"model.fsdp=true: not together with model.{key}={getattr(model, key)}; set that to 1 "
                "(context parallelism goes with FSDP), or model.fsdp=false"
            )
    if optim.name != "adamw":
        raise UserError(
            f"model.fsdp=true: divides the optimizer already, which model.optim.name={optim.name} does too; set "
            "model.optim.name=adamw, or model.fsdp=false"
        )
    if config.trainer.precision == "bf16-mixed" and optim.grad_sync_dtype != "bf16":
        raise UserError(
            f"model.fsdp=true: adds up and reduces gradients in the weights' own bf16, not in "
            f"model.optim.grad_sync_dtype={optim.grad_sync_dtype}; set model.optim.grad_sync_dtype=bf16, or "
            "model.fsdp=false"
        )
    if model.share_embeddings_and_output_weights:
        raise UserError(
            "model.fsdp=true: gathers the embedding for its own pass only, which the head needs too with "
            "model.share_embeddings_and_output_weights=true; set model.fsdp=false"
        )
    ranks = config.trainer.world_size // model.model_parallel_size * model.context_parallel_size
    order = list(ModelConfig.model_fields)
    firsts = [(weight.dimensions[0], weight.padded_shape[0]) for weight in model.weights]
    for _, name, count in sorted({(order.index(rows.key), rows.said, count) for rows, count in firsts}):
        if count % ranks:
            raise UserError(
                f"model.fsdp=true: {ranks} ranks (data x context parallel) do not divide {name} ({count} rows); use a "
                "number of devices that does, or model.fsdp=false"
            )
