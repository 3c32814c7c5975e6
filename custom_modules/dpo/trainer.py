"""trl's DPOTrainer, of which a step is taken and nothing else: order, checkpoints and logs are the run's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from trl import DPOTrainer

from custom_modules.dpo.checkpoint import load_adapter, load_random_states
from custom_modules.dpo.order import PairOrder
from custom_modules.dpo.random_state import seed_process, set_random_state
from custom_modules.dpo.step import Step
from custom_modules.errors import DivergedError

_MEASURES = {
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "logp_chosen": "logps/chosen",
    "logp_rejected": "logps/rejected",
}
"""trl's names of `custom_modules.run_folder.metrics.PREFERENCES`."""


class PairTrainer(DPOTrainer):
    """trl's trainer over pairs that are tokens already.

    Args:
        order: in which they are trained on.
        after_step: called after each step, on every process; an error that it raises ends the training.
        options: DPOTrainer's.
    """

    def __init__(self, order: PairOrder, after_step: Callable[[Step], None], **options: Any) -> None:
        self.order = order
        self._after_step = after_step
        self._steps_seen = 0
        super().__init__(**options)
        self.remove_callback(PrinterCallback)

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end.

        Args:
            checkpoint: the folder to go on from; None: from the beginning.

        Raises:
            DivergedError: a loss or gradient norm is not finite.
        """
        if checkpoint is None:
            seed_process(self.args.seed, self.accelerator.process_index)
        self._steps_seen = 0
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """Leave the pairs as they are: they have been encoded."""
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> PairOrder:
        return self.order

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        # Accelerate hands the epoch on to some of the samplers that it wraps, and not to those of a resumed run.
        self.order.epoch = options["epoch"]
        super()._run_epoch(*arguments, **options)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_adapter(self.model, Path(resume_from_checkpoint))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Go on with the random numbers of a checkpoint; under another number of processes, with new ones."""
        if checkpoint is None:
            return
        states, index = load_random_states(Path(checkpoint)), self.accelerator.process_index
        if len(states) == self.accelerator.num_processes:
            set_random_state(states[index])
        else:
            seed_process(self.args.seed + self.state.global_step, index)

    def _maybe_log_save_evaluate(
        self, tr_loss: torch.Tensor, grad_norm: Any, *_: Any, learning_rate: float | None = None, **__: Any
    ) -> None:
        """Hand a step on: transformers calls this after each one, and once more at the end of an epoch."""
        if self.state.global_step <= max(self._steps_seen, self._initial_global_step):
            return
        self._steps_seen = self.state.global_step
        loss = tr_loss.detach().clone()
        tr_loss.zero_()
        if self.accelerator.num_processes > 1:
            torch.distributed.all_reduce(loss)
            loss /= self.accelerator.num_processes
        found = self._metrics["train"]
        means = {name: sum(found[theirs]) / len(found[theirs]) for name, theirs in _MEASURES.items()}
        found.clear()
        step = Step(self.state.global_step, loss.item(), float(grad_norm), float(learning_rate or 0.0), means)
        if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
            raise DivergedError(f"loss {step.loss}, gradient norm {step.grad_norm}")
        self._after_step(step)
