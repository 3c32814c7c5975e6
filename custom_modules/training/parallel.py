"""This rank's parts of the model, wrapped as megatron-core's schedules and optimizers want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.transformer.module import Float16Module

from custom_modules.config.schema import TrainingConfig
from custom_modules.model.build import fuse_weight_gradients
from custom_modules.model.language_model import LanguageModel
from custom_modules.training.fsdp import FullyShardedDataParallel

DataParallel: TypeAlias = DistributedDataParallel | FullyShardedDataParallel


def data_parallel(chunks: Sequence[LanguageModel], config: TrainingConfig) -> list[DataParallel]:
    """Each chunk in megatron-core's DistributedDataParallel, or sharded; in bf16 where the run is."""
    optim = config.model.optim
    distributed = optim.name == "distributed_fused_adam"
    settings = DistributedDataParallelConfig(
        grad_reduce_in_fp32=optim.grad_sync_dtype == "fp32",
        use_distributed_optimizer=distributed,
        overlap_grad_reduce=optim.overlap_grad_sync,
        overlap_param_gather=optim.overlap_param_sync and distributed,
        check_for_nan_in_grad=False,
    )
    wrapped: list[DataParallel] = []
    for number, chunk in enumerate(chunks):
        inner = Float16Module(chunk.config, chunk) if chunk.config.bf16 else chunk
        if config.model.fsdp:
            wrapped.append(FullyShardedDataParallel(chunk.config, inner))
            continue
        # As Megatron-LM does: the gradients of later chunks are ready early, and need no pieces to hide behind.
        wrapped.append(DistributedDataParallel(chunk.config, settings, inner, disable_bucketing=number > 0))
        fuse_weight_gradients(wrapped[-1])
    return wrapped


def connect(models: Sequence[DataParallel], optimizer: MegatronOptimizer) -> None:
    """Tell the schedules, which ask the first chunk's config, how gradients are scaled, held back and reduced."""
    config: Any = models[0].config
    config.finalize_model_grads_func = finalize_model_grads
    config.grad_scale_func = optimizer.scale_loss
    if models[0].ddp_config.overlap_grad_reduce:
        no_sync = [model.no_sync for model in models]
        config.no_sync_func = no_sync if len(models) > 1 else no_sync[0]


def gather_parameters(models: Sequence[DataParallel]) -> None:
    """Make the weights whole. Collective.

    Where their gathering is overlapped, a step leaves it to the next forward pass.
    """
    for model in models:
        if model.ddp_config.overlap_param_gather:
            assert isinstance(model, DistributedDataParallel)
            model.start_param_sync(force_sync=True)
