"""The trainable whole: model, DDP, optimizer and learning-rate scheduler, all of them megatron-core's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, tee
from typing import Any, NamedTuple

import torch
from megatron.core import parallel_state
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Schedule, Step
from custom_modules.data.batches import Batch
from custom_modules.data.documents import CU_SEQLENS
from custom_modules.errors import DivergedError
from custom_modules.model.build import build_chunks
from custom_modules.model.language_model import LanguageModel
from custom_modules.model.recompute import set_recompute
from custom_modules.objective import build_objective
from custom_modules.objective.logged import Distilled, read_logged, target_names
from custom_modules.objective.minimum import MinimumOverTargets
from custom_modules.platform import Platform
from custom_modules.platform.megatron_versions import batch_on_this_cp_rank
from custom_modules.training.alternatives import best_texts
from custom_modules.training.forward_step import Outcome, forward_step, score_outcome, train_outcome
from custom_modules.training.optimizer import build_optimizer
from custom_modules.training.parallel import connect, data_parallel


@dataclass(frozen=True)
class StepResult:
    """What one training step found, the same on every rank."""

    loss: float
    """Mean over the tokens of the step that count; cross-entropy in nats, where that is the objective. Of a distilled
    step, the ground truth's."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float

    @property
    def distilled(self) -> Distilled | None:
        """What is logged beside the loss; None: the step was plain."""
        return None


@dataclass(frozen=True)
class DistilledStepResult(StepResult):
    """What a step found whose batch has teachers' targets."""

    logged: Distilled

    @property
    def distilled(self) -> Distilled:
        return self.logged


class MeanLoss(NamedTuple):
    """The loss of some tokens."""

    mean: float
    """Over those that count; 0 where none does."""
    tokens: int
    """How many count."""


class Engine:
    """Trains one model on this rank.

    Args:
        config: the run.
        schedule: gives the length of the one cosine, and of its warm-up.
        platform: says where parameters and batches live, and what computes the layers.
        initial_weights: False where a checkpoint is loaded next.

    Needs `Platform.running`.
    """

    def __init__(
        self, config: TrainingConfig, schedule: Schedule, platform: Platform, initial_weights: bool = True
    ) -> None:
        self.config = config
        self.device = platform.device
        self.objective = build_objective(config)
        self._is_fused = platform.kernels.transformer_engine
        chunks = build_chunks(config, initial_weights, platform.kernels)
        self.chunks: list[LanguageModel] = [chunk.to(self.device) for chunk in chunks]
        transformer_config = self.chunks[0].config
        self.models = data_parallel(self.chunks, config)
        optim = config.model.optim
        self.optimizer: MegatronOptimizer = build_optimizer(optim, transformer_config, self.models)
        self.scheduler = OptimizerParamScheduler(
            self.optimizer,
            init_lr=0.0,
            max_lr=optim.lr,
            min_lr=optim.sched.min_lr,
            lr_warmup_steps=schedule.warmup_tokens,
            lr_decay_steps=schedule.total_tokens,
            lr_decay_style="cosine",
            start_wd=optim.weight_decay,
            end_wd=optim.weight_decay,
            wd_incr_steps=schedule.total_tokens,
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

    def train_step(
        self, batches: Iterator[Batch], stage: Step, leaves_out: Callable[[float, float], bool] | None = None
    ) -> StepResult:
        """One optimizer step over ``stage.num_microbatches`` micro-batches of this rank.

        The clock moves by a whole batch first, so the step uses the learning rate of its end: see
        `custom_modules.config.learning_rate`.

        Args:
            leaves_out: is told loss and gradient norm before weights and moments are updated, on every rank, and says
                whether that is left out; it decides about numbers that are not finite, too.

        Raises:
            DivergedError: the loss or the gradient norm is not finite. Save nothing after it.
        """
        self.scheduler.step(stage.global_batch_tokens)
        losses = self.forward_backward(batches, stage, stage.num_microbatches)
        loss, distilled = self._mean_loss(losses), self._distilled(losses)
        if leaves_out is not None:
            self.optimizer.prepare_grads()
            grad_norm = float(self.optimizer.get_grad_norm())
            if leaves_out(loss, grad_norm):
                return self._result(loss, grad_norm, distilled)
        for name, value in (("loss", loss), ("objective", distilled.objective if distilled else 0.0)):
            if not math.isfinite(value):
                raise DivergedError(f"{name}={value}: not finite")
        _, grad_norm, _ = self.optimizer.step()
        grad_norm = float(grad_norm)
        if not math.isfinite(grad_norm):
            raise DivergedError(f"grad_norm={grad_norm}: not finite")
        return self._result(loss, grad_norm, distilled)

    def _result(self, loss: float, grad_norm: float, distilled: Distilled | None) -> StepResult:
        learning_rate = float(self.scheduler.get_lr(self.optimizer.param_groups[0]))
        if distilled is None:
            return StepResult(loss, grad_norm, learning_rate)
        return DistilledStepResult(loss, grad_norm, learning_rate, distilled)

    def forward_backward(self, batches: Iterator[Batch], stage: Step, num_microbatches: int) -> list[Tensor]:
        """Leave the gradients of the mean over so many micro-batches of each rank.

        Returns:
            For each micro-batch the sum of the losses and the count of the tokens, fp32 ``[2]``, of this rank, with
            those of `logged_sums` behind them where the run has teachers; nothing but on the last pipeline stage.
        """
        for chunk in self.chunks:
            set_recompute(chunk, stage.recompute)
        for model in self.models:
            model.train()
        self.zero_gradients()
        return self._run(self._to_train(batches, stage, num_microbatches), stage, num_microbatches, forward_only=False)

    def _to_train(self, batches: Iterator[Batch], stage: Step, num_microbatches: int) -> Iterator[Batch]:
        """Return a step's micro-batches, this rank's part of each; of sequences with alternatives the best."""
        objective = self.objective
        if not isinstance(objective, MinimumOverTargets) or not objective.has_texts:
            return map(self._here, batches)

        @torch.no_grad()
        def score(texts: Sequence[Batch]) -> list[Tensor]:
            return self._run(
                iter(texts), stage, len(texts), forward_only=True, outcome=partial(score_outcome, objective)
            )

        step = islice(batches, num_microbatches)
        return iter(best_texts(step, self._here, score, self._from_last_stage, objective.targets))

    def _here(self, batch: Batch) -> Batch:
        """Return this context-parallel rank's tokens of a micro-batch, on the device."""
        here = batch_on_this_cp_rank(dict(batch))
        return {
            name: tensor if name == CU_SEQLENS else tensor.to(self.device, non_blocking=True)
            for name, tensor in here.items()
        }

    def zero_gradients(self) -> None:
        for model in self.models:
            model.zero_grad_buffer()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch], stage: Step, num_microbatches: int) -> list[MeanLoss]:
        """Evaluate ``num_microbatches`` of each data-parallel rank, and train nothing.

        Returns:
            The loss of each micro-batch of all ranks, in the order of their samples; the same on every rank.
        """
        for model in self.models:
            model.eval()
        mine = self._run(map(self._here, batches), stage, num_microbatches, forward_only=True)
        ranks, rank = parallel_state.get_data_parallel_world_size(), parallel_state.get_data_parallel_rank()
        sums = torch.zeros(2, num_microbatches, ranks, dtype=torch.float32, device=self.device)
        if mine:
            sums[:, :, rank] = torch.stack(mine, dim=1)[:2]
        self._add_up(sums, found_here=bool(mine))
        means = sums[0] / sums[1].clamp(min=1)
        return list(map(MeanLoss, means.flatten().tolist(), map(int, sums[1].flatten().tolist())))

    def _run(
        self,
        batches: Iterator[Batch],
        stage: Step,
        num_microbatches: int,
        forward_only: bool,
        outcome: Callable[..., Outcome] | None = None,
    ) -> list[Tensor]:
        first = next(batches)
        batches = chain([first], batches)
        rows = stage.micro_batch_size
        together = rows if CU_SEQLENS in first else 1
        iterators: Any = batches
        if len(self.models) > 1:
            # Every chunk of the model passes over the same micro-batches, each at its own pace.
            iterators = list(tee(islice(batches, num_microbatches), len(self.models)))
        return self._forward_backward(
            forward_step_func=partial(
                forward_step,
                from_logits=self.objective.from_logits,
                outcome=outcome or partial(train_outcome, self.objective),
                fused=self._is_fused,
            ),
            data_iterator=iterators,
            model=self.models,
            num_microbatches=num_microbatches,
            seq_length=together * stage.seq_length,
            micro_batch_size=rows // together,
            forward_only=forward_only,
        )

    def _mean_loss(self, losses: list[Tensor]) -> float:
        """Take the mean over the tokens of all micro-batches and ranks that count."""
        total, tokens = self._sums([found[:2] for found in losses], 2)
        if not tokens:
            raise DivergedError(f"objective={self.config.objective}: no token of the step counts; look at the data")
        return (total / tokens).item()

    def _distilled(self, losses: list[Tensor]) -> Distilled | None:
        """Return what a distilled step is logged with, over all micro-batches and ranks; None: it was plain."""
        names = target_names(self.config)
        if not names:
            return None
        return read_logged(self._sums([found[2:] for found in losses], 2 + len(names)).tolist(), names)

    def _sums(self, found: list[Tensor], size: int) -> Tensor:
        """Add up what each micro-batch of all ranks has: fp32 ``[size]``, the same on every rank."""
        sums = torch.zeros(size, dtype=torch.float32, device=self.device)
        if found:
            sums = torch.stack(found, dim=1).sum(dim=1)
        self._add_up(sums, found_here=bool(found))
        return sums

    def _add_up(self, sums: Tensor, found_here: bool) -> None:
        """Add up in place what the ranks that share a batch have found. Only the last pipeline stage finds something;
        it tells the rest."""
        if found_here:
            torch.distributed.all_reduce(sums, group=parallel_state.get_data_parallel_group(with_context_parallel=True))
        self._from_last_stage(sums)

    @staticmethod
    def _from_last_stage(tensor: Tensor) -> Tensor:
        """Put what the last pipeline stage has into the tensor of the others."""
        if parallel_state.get_pipeline_model_parallel_world_size() > 1:
            torch.distributed.broadcast(
                tensor,
                src=parallel_state.get_pipeline_model_parallel_last_rank(),
                group=parallel_state.get_pipeline_model_parallel_group(),
            )
        return tensor
