"""Fully sharded data parallelism: torch's FSDP2 as megatron-core wraps it, and its part of a checkpoint.

megatron-core's own sharded state dict is not used for it: it takes each rank's rows of a gated MLP's ``[gate; up]``
for a gate and an up of their own (``apply_swiglu_sharded_factory``), so that the stored matrix has its rows permuted
under any number of ranks but one. Here a checkpoint has the same tensors under the same names as without FSDP.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor, optim_state_to_sharding_state
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.distributed.torch_fully_sharded_data_parallel import TorchFullyShardedDataParallel
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import TransformerLayer
from torch import Tensor
from torch.distributed.tensor import DTensor

from custom_modules.model.language_model import LanguageModel
from custom_modules.training.te_state import EXTRA_STATE

MAIN = "fp32_from_fp16_params"
"""megatron-core's name for the fp32 copies of bf16 weights."""


class FullyShardedDataParallel(TorchFullyShardedDataParallel):
    """A model whose weights, gradients and moments are divided over the ranks that share a batch.

    The embedding and each layer are gathered for their own forward and backward pass only; the last norm and the head
    together, for the whole of it. Gradients are averaged over the ranks after every micro-batch.

    Args:
        config: of the model.
        module: moved to its device, with its weights drawn.
    """

    def __init__(self, config: TransformerConfig, module: torch.nn.Module) -> None:
        gathered = {TransformerLayer, LanguageModelEmbedding}
        super().__init__(config, DistributedDataParallelConfig(), module, sub_modules_to_wrap=gathered)

    def finish_grad_sync(self, force_all_reduce: bool | None = False) -> None:
        """Nothing is left to do. megatron-core 0.16.1 passes an argument that its own method does not take."""

    @torch.no_grad()
    def scale_gradients(self, scaling_factor: Tensor | float) -> None:
        """Make of the averages over the ranks the sums that megatron-core scales, which does nothing here by itself.

        Its own DistributedDataParallel adds gradients up where ``calculate_per_token_loss`` is set, and torch's
        ``set_gradient_divide_factor``, which would too, needs an operation of NCCL's that gloo lacks.
        """
        factor = scaling_factor * self.process_group.size()
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.to_local().mul_(factor)


def is_sharded(chunk: LanguageModel) -> bool:
    """Whether FSDP has divided its parameters."""
    return isinstance(next(chunk.parameters()), DTensor)


@torch.no_grad()
def sharded_state_dict(chunk: LanguageModel) -> dict[str, Any]:
    """This rank's rows of every parameter, by megatron-core's names and at their place in the whole tensors."""
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    state = chunk.sharded_state_dict()
    for name, parameter in chunk.named_parameters():
        entry = state[name].build()[0] if isinstance(state[name], ShardedTensorFactory) else state[name]
        stacked = entry.prepend_axis_num
        layers = [(axis, entry.global_offset[axis], entry.global_shape[axis]) for axis in range(stacked)]
        rows = (stacked, group.rank(), group.size())
        local = parameter.to_local()
        state[name] = ShardedTensor.from_rank_offsets(
            entry.key,
            local,
            *layers,
            rows,
            prepend_axis_num=stacked,
            allow_shape_mismatch=entry.allow_shape_mismatch,
        )
    return state


@torch.no_grad()
def set_weights(chunk: LanguageModel, loaded: dict[str, Any]) -> None:
    """Copy what was loaded in the form of `sharded_state_dict`."""
    for name, parameter in chunk.named_parameters():
        parameter.to_local().copy_(loaded[name])
    for name, state in loaded.items():
        module, _, kind = name.rpartition(".")
        if kind == EXTRA_STATE:
            chunk.get_submodule(module).set_extra_state(state)


@torch.no_grad()
def sharded_optimizer_state(
    optimizer: MegatronOptimizer, chunk: LanguageModel, weights: dict[str, Any], is_loading: bool
) -> dict[str, Any]:
    """What the optimizer's own ``sharded_state_dict`` would be, did it recognise its parameters.

    megatron-core 0.16.1 looks for the ``id`` of each one's local tensor, and torch makes a new one of it at every call.

    Args:
        weights: the `sharded_state_dict` of the chunk.
    """
    single = _single(optimizer)
    if is_loading:
        single.init_state_fn(single.optimizer, single.config)
    names = {id(parameter): name for name, parameter in chunk.named_parameters()}
    entries = dict(enumerate(weights[names[id(parameter)]] for parameter in _model_parameters(single)))
    state = single.state_dict()
    inner = state.get("optimizer", state)
    step = single._extract_common_per_param_step(inner)
    optim_state_to_sharding_state(inner, entries, exclude_keys="step")
    if step is not None:
        inner["state"]["common_step"] = step
    if MAIN in state:
        remaining = iter(entries.values())
        state[MAIN] = [
            [make_sharded_optimizer_tensor(next(remaining), copy, "optimizer.state.fp32_param") for copy in group]
            for group in state[MAIN]
        ]
    return state


@torch.no_grad()
def set_optimizer_state(optimizer: MegatronOptimizer, loaded: dict[str, Any]) -> None:
    """Load what was loaded in the form of `sharded_optimizer_state`: its tensors become as its parameters are."""
    parameters = _single(optimizer).get_parameters()
    inner = loaded.get("optimizer", loaded)
    for number, values in inner["state"].items():
        if isinstance(number, int):
            values.update({name: _like(parameters[number], value) for name, value in values.items()})
    if MAIN in loaded:
        remaining = iter(parameters)
        loaded[MAIN] = [[_like(next(remaining), value) for value in group] for group in loaded[MAIN]]
    optimizer.load_state_dict(loaded)


def _single(optimizer: MegatronOptimizer) -> Any:
    """The one optimizer that megatron-core's chain holds."""
    [single] = getattr(optimizer, "chained_optimizers", [optimizer])
    return single


def _model_parameters(single: Any) -> Iterator[DTensor]:
    """Yield the model's parameters in the optimizer's order: its own are fp32 copies of them, or they themselves."""
    groups = getattr(single, "float16_groups", None) or [single.get_parameters()]
    return chain.from_iterable(groups)


def _like(parameter: DTensor, value: Any) -> Any:
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    return DTensor.from_local(
        value, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
