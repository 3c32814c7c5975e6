"""megatron-core's optimizers, as a config asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.optimizer import (
    ChainedOptimizer,
    MegatronOptimizer,
    OptimizerConfig,
    get_megatron_optimizer,
    get_standard_config_overrides,
)
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.transformer_config import TransformerConfig

from custom_modules.config.model_parts import MegatronOptimConfig
from custom_modules.training.fsdp import FullyShardedDataParallel
from custom_modules.training.parallel import DataParallel


class ReshardableDistributedOptimizer(DistributedOptimizer):
    """megatron-core's distributed optimizer, whose `fully_reshardable` checkpoints also load with torch's Adam.

    torch's Adam, unlike Transformer Engine's, keeps a ``step`` tensor in each parameter's state and none before its
    first step; Transformer Engine's keeps an int in each group, and takes nothing else. Three things follow when
    loading, and each is a method here.
    """

    def sharded_state_dict(self, model_sharded_state_dict: Any, is_loading: bool = False, **options: Any) -> Any:
        """Loading needs a state to load into: a step on zero gradients makes one, and all of it is overwritten."""
        if is_loading and not self.optimizer.state:
            self._init_optimizer_states_with_dummy_values()
        return super().sharded_state_dict(model_sharded_state_dict, is_loading, **options)

    def load_state_dict(self, state_dict: Any) -> None:
        """megatron-core gives all parameters one ``step`` tensor, which each of them would then count up.

        The groups' step is a float where torch's Adam has written it.
        """
        super().load_state_dict(state_dict)
        if not isinstance(self.optimizer, torch.optim.AdamW):
            for group in self.optimizer.param_groups:
                if "step" in group:
                    group["step"] = int(group["step"])
        for state in self.optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"].clone()

    def _set_main_param_and_optimizer_states(self, model_param: Any, tensors: dict[str, Any]) -> None:
        """``step`` comes with the param groups; megatron-core also looks for it beside the moments."""
        group, order = self.model_param_group_index_map[model_param]
        state = self.optimizer.state[self.optimizer.param_groups[group]["params"][order]]
        if "step" in state:
            tensors = {"step": state["step"], **tensors}
        super()._set_main_param_and_optimizer_states(model_param, tensors)


def build_optimizer(
    optim: MegatronOptimConfig, transformer_config: TransformerConfig, models: Sequence[DataParallel]
) -> MegatronOptimizer:
    """Adam over all parameters of this rank's chunks: whole, or divided over the ranks that share a batch."""
    config = OptimizerConfig(
        optimizer="adam",
        lr=optim.lr,
        min_lr=optim.sched.min_lr,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.betas[0],
        adam_beta2=optim.betas[1],
        adam_eps=optim.eps,
        clip_grad=math.inf if optim.clip_grad is None else optim.clip_grad,  # 0 would leave the norm unknown
        bf16=transformer_config.bf16,
        params_dtype=transformer_config.params_dtype,
        use_distributed_optimizer=optim.name == "distributed_fused_adam",
        overlap_param_gather=models[0].ddp_config.overlap_param_gather,
    )
    optimizer = _distributed(config, models) if config.use_distributed_optimizer else _replicated(config, models)
    for part in parts(optimizer):
        if isinstance(models[0], FullyShardedDataParallel):
            _use_adam_of_torch(part, optim)
        if isinstance(part.optimizer, torch.optim.AdamW):
            # One pass over the state instead of a dozen, as Transformer Engine's Adam makes where it is installed.
            for group in part.optimizer.param_groups:
                group["fused"] = True
    return optimizer


def parts(optimizer: MegatronOptimizer) -> list[Any]:
    """Return megatron-core's optimizers, each around one of torch's, of the chain that it made."""
    return list(getattr(optimizer, "chained_optimizers", [optimizer]))


def forget_moments(optimizer: MegatronOptimizer) -> None:
    """Have the next step be Adam's first."""
    for part in parts(optimizer):
        part.optimizer.state.clear()
        for group in part.optimizer.param_groups:
            group.pop("step", None)  # Transformer Engine's Adam counts there


def _replicated(config: OptimizerConfig, models: Sequence[DataParallel]) -> MegatronOptimizer:
    return get_megatron_optimizer(config, list(models), get_standard_config_overrides(config))


def _use_adam_of_torch(part: MegatronOptimizer, optim: MegatronOptimConfig) -> None:
    """Take the place of Transformer Engine's Adam: 2.10 and 2.11 make moments of a divided weight's whole shape."""
    if not isinstance(part.optimizer, torch.optim.AdamW):
        groups = part.optimizer.param_groups
        part.optimizer = torch.optim.AdamW(
            groups, optim.lr, betas=optim.betas, eps=optim.eps, weight_decay=optim.weight_decay
        )


def _distributed(config: OptimizerConfig, models: Sequence[DataParallel]) -> MegatronOptimizer:
    """Build what ``get_megatron_optimizer`` would, of the subclass: it has no place to name one.

    The Adam inside comes from megatron-core's plain fp32 optimizer, which leaves its parameters as they are.
    """
    [plain] = parts(_replicated(replace(config, bf16=False, use_distributed_optimizer=False), models))
    groups = ProcessGroupCollection.setup_process_groups_for_optimizer(None, list(models))
    optimizer = ReshardableDistributedOptimizer(
        plain.optimizer,
        config,
        None,
        plain.init_state_fn,
        model_chunks=list(models),
        per_model_buffers={number: model.buffers for number, model in enumerate(models)},
        data_parallel_group=groups["intra_dp_cp_group"],
        data_parallel_group_gloo=groups["intra_dp_cp_group_gloo"],
        data_parallel_group_idx=groups["mp_group"].rank(),
        distributed_optimizer_instance_id=0,
    )
    optimizer.grad_stats_parallel_group = groups["intra_dist_opt_group"]
    optimizer.tp_group = parallel_state.get_tensor_model_parallel_group()
    return ChainedOptimizer([optimizer])
