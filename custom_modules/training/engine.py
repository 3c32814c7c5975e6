"""The trainable whole: model, DDP, optimizer and learning-rate scheduler, all of them megatron-core's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, tee
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer import (
    MegatronOptimizer,
    OptimizerConfig,
    get_megatron_optimizer,
    get_standard_config_overrides,
)
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.utils import get_batch_on_this_cp_rank
from torch import Tensor

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.errors import DivergedError
from custom_modules.model.build import build_chunks
from custom_modules.model.recompute import set_recompute
from custom_modules.platform.kernels import kernels_here
from custom_modules.training.parallel import connect, data_parallel

Batch = dict[str, Tensor]


class ReshardableDistributedOptimizer(DistributedOptimizer):
    """megatron-core's distributed optimizer, whose `fully_reshardable` checkpoints also load with torch's Adam.

    torch's Adam, unlike Transformer Engine's, keeps a ``step`` tensor in each parameter's state and none before its
    first step. Three things follow when loading, and each is a method here.
    """

    def sharded_state_dict(self, model_sharded_state_dict: Any, is_loading: bool = False, **options: Any) -> Any:
        """Loading needs a state to load into: a step on zero gradients makes one, and all of it is overwritten."""
        if is_loading and not self.optimizer.state:
            self._init_optimizer_states_with_dummy_values()
        return super().sharded_state_dict(model_sharded_state_dict, is_loading, **options)

    def load_state_dict(self, state_dict: Any) -> None:
        """megatron-core gives all parameters one ``step`` tensor, which each of them would then count up."""
        super().load_state_dict(state_dict)
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


@dataclass(frozen=True)
class StepResult:
    """What one training step found, the same on every rank."""

    loss: float
    """Mean cross-entropy over the step's tokens, in nats."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float


class Engine:
    """Trains one curriculum on this rank.

    Args:
        config: the run.
        curriculum: gives the length of the one cosine.
        device: where parameters and batches live.
        initial_weights: False where a checkpoint is loaded next.

    Needs `Platform.running`.
    """

    def __init__(
        self, config: Config, curriculum: Curriculum, device: torch.device, initial_weights: bool = True
    ) -> None:
        self.config = config
        self.device = device
        self.kernels = kernels_here(config, "gpu" if device.type == "cuda" else "cpu")
        chunks = build_chunks(config, initial_weights, self.kernels)
        self.chunks: list[GPTModel] = [chunk.to(device) for chunk in chunks]
        transformer_config = self.chunks[0].config
        self.models = data_parallel(self.chunks, config)
        distributed = config.model.optim.name == "distributed_fused_adam"
        optim = config.model.optim
        optimizer_config = OptimizerConfig(
            optimizer="adam",
            lr=optim.lr,
            min_lr=optim.sched.min_lr,
            weight_decay=optim.weight_decay,
            adam_beta1=optim.betas[0],
            adam_beta2=optim.betas[1],
            adam_eps=optim.eps,
            clip_grad=optim.clip_grad,
            bf16=transformer_config.bf16,
            params_dtype=transformer_config.params_dtype,
            use_distributed_optimizer=distributed,
            overlap_param_gather=self.models[0].ddp_config.overlap_param_gather,
        )
        self.optimizer: MegatronOptimizer = get_megatron_optimizer(
            optimizer_config, self.models, get_standard_config_overrides(optimizer_config)
        )
        for part in getattr(self.optimizer, "chained_optimizers", [self.optimizer]):
            if type(part) is DistributedOptimizer:
                part.__class__ = ReshardableDistributedOptimizer
            if isinstance(part.optimizer, torch.optim.AdamW):
                # One pass over the state instead of a dozen, as Transformer Engine's Adam makes where it is installed.
                for group in part.optimizer.param_groups:
                    group["fused"] = True
        self.scheduler = OptimizerParamScheduler(
            self.optimizer,
            init_lr=0.0,
            max_lr=optim.lr,
            min_lr=optim.sched.min_lr,
            lr_warmup_steps=optim.sched.warmup_tokens,
            lr_decay_steps=curriculum.total_tokens,
            lr_decay_style="cosine",
            start_wd=optim.weight_decay,
            end_wd=optim.weight_decay,
            wd_incr_steps=curriculum.total_tokens,
            wd_incr_style="constant",
        )
        connect(self.models, self.optimizer)
        self._forward_backward: Callable[..., Any] = get_forward_backward_func()

    @property
    def consumed_tokens(self) -> int:
        """The token clock. megatron-core's scheduler holds it, so the learning rate cannot disagree with it."""
        return self.scheduler.num_steps

    def set_clock(self, consumed_tokens: int) -> None:
        self.scheduler.num_steps = consumed_tokens
        self.scheduler.step(0)

    def train_step(self, batches: Iterator[Batch], stage: Stage) -> StepResult:
        """One optimizer step over ``stage.num_microbatches`` micro-batches of this rank.

        The clock moves by a whole batch first, so the step uses the learning rate of its end: see
        `custom_modules.config.learning_rate`.

        Raises:
            DivergedError: the loss or the gradient norm is not finite. Save nothing after it.
        """
        self.scheduler.step(stage.global_batch_tokens)
        for chunk in self.chunks:
            set_recompute(chunk, stage.recompute)
        for model in self.models:
            model.train()
            model.zero_grad_buffer()
        self.optimizer.zero_grad()
        losses = self._run(batches, stage, stage.num_microbatches, forward_only=False)
        loss = self._mean_loss(losses)
        if not math.isfinite(loss):
            raise DivergedError(f"loss={loss}: not finite")
        _, grad_norm, _ = self.optimizer.step()
        grad_norm = float(grad_norm)
        if not math.isfinite(grad_norm):
            raise DivergedError(f"grad_norm={grad_norm}: not finite")
        return StepResult(loss, grad_norm, self.scheduler.get_lr(self.optimizer.param_groups[0]))

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch], stage: Stage, num_microbatches: int) -> list[float]:
        """Mean cross-entropy, in nats a token, of ``num_microbatches`` from each data-parallel rank. Trains nothing.

        Returns:
            One for each micro-batch of all ranks, in the order of their samples; the same on every rank.
        """
        for model in self.models:
            model.eval()
        mine = self._run(batches, stage, num_microbatches, forward_only=True)
        ranks, rank = parallel_state.get_data_parallel_world_size(), parallel_state.get_data_parallel_rank()
        losses = torch.zeros(num_microbatches, ranks, dtype=torch.float32, device=self.device)
        if mine:
            losses[:, rank] = torch.stack([entry["loss"] for entry in mine])
            # Context-parallel ranks have a part of each sequence.
            group = parallel_state.get_data_parallel_group(with_context_parallel=True)
            torch.distributed.all_reduce(losses, group=group)
            losses /= parallel_state.get_context_parallel_world_size()
        _from_last_stage(losses)
        return losses.flatten().tolist()

    def _run(
        self, batches: Iterator[Batch], stage: Stage, num_microbatches: int, forward_only: bool
    ) -> list[dict[str, Tensor]]:
        iterators: Any = batches
        if len(self.models) > 1:
            # Every chunk of the model passes over the same micro-batches, each at its own pace.
            iterators = list(tee(islice(batches, num_microbatches), len(self.models)))
        return self._forward_backward(
            forward_step_func=partial(_forward_step, device=self.device),
            data_iterator=iterators,
            model=self.models,
            num_microbatches=num_microbatches,
            seq_length=stage.seq_length,
            micro_batch_size=stage.micro_batch_size,
            forward_only=forward_only,
        )

    def _mean_loss(self, losses: list[dict[str, Tensor]]) -> float:
        """Over micro-batches and the ranks that share a batch. Only the last pipeline stage has losses; it tells the
        rest."""
        total = torch.zeros(1, dtype=torch.float32, device=self.device)
        if losses:
            total[0] = torch.stack([entry["loss"] for entry in losses]).mean()
            group = parallel_state.get_data_parallel_group(with_context_parallel=True)
            torch.distributed.all_reduce(total, group=group)
            total /= group.size()
        _from_last_stage(total)
        return total.item()


def _from_last_stage(losses: Tensor) -> None:
    """Overwrite it with the last pipeline stage's, on all of them."""
    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        torch.distributed.broadcast(
            losses,
            src=parallel_state.get_pipeline_model_parallel_last_rank(),
            group=parallel_state.get_pipeline_model_parallel_group(),
        )


def _forward_step(batches: Iterator[Batch], model: Any, device: torch.device) -> tuple[Tensor, Callable[..., Any]]:
    here = get_batch_on_this_cp_rank(dict(next(batches)))
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in here.items()}
    output = model(batch["tokens"], batch["position_ids"], None, labels=batch["labels"])
    return output, _loss


def _loss(token_losses: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over ``[b, s]`` token losses: every token of a pre-training window counts.

    Context-parallel ranks have as many tokens each, and megatron-core's gradients are a mean over them as over
    data-parallel ranks. Its schedules though multiply by their number, which is undone beforehand.

    The reported loss is a copy: megatron-core's schedules divide the first in place.
    """
    loss = token_losses.float().mean()
    return loss / parallel_state.get_context_parallel_world_size(), {"loss": loss.detach().clone()}
