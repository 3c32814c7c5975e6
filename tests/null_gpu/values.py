"""An engine that takes its losses and gradient norms for 1: no kernel has run, and what is in memory is anything."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from custom_modules.errors import DivergedError
from custom_modules.training.optimizer import parts


def ignore_values(engine: type[Any]) -> None:
    """Change `custom_modules.training.engine.Engine`. All that it does is done, and only what it finds is replaced."""
    begin, add_up, mean_loss, evaluate = engine.__init__, engine._add_up, engine._mean_loss, engine.evaluate

    def begin_blind(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        step = self.optimizer.step

        def step_blind() -> tuple[bool, float, None]:
            before = _counts(self.optimizer)
            step()
            _count_up(self.optimizer, before)
            return True, 1.0, None

        norm = self.optimizer.get_grad_norm

        def norm_blind() -> float:
            norm()
            return 1.0

        self.optimizer.step, self.optimizer.get_grad_norm = step_blind, norm_blind

    def add_up_blind(self: Any, sums: torch.Tensor, found_here: bool) -> None:
        add_up(self, sums, found_here)
        sums.copy_(torch.ones(sums.shape, dtype=sums.dtype))

    def mean_loss_blind(self: Any, losses: Any) -> float:
        with suppress(DivergedError):
            mean_loss(self, losses)
        return 1.0

    def evaluate_blind(self: Any, *arguments: Any, **options: Any) -> Any:
        return [found._replace(mean=1.0) for found in evaluate(self, *arguments, **options)]

    engine.__init__, engine._add_up = begin_blind, add_up_blind
    engine._mean_loss, engine.evaluate = mean_loss_blind, evaluate_blind


def _counts(optimizer: Any) -> dict[torch.Tensor, float]:
    """Return how many steps each parameter has made that torch's Adam counts on the device."""
    return {
        parameter: state["step"].item()
        for part in parts(optimizer)
        for parameter, state in part.optimizer.state.items()
        if isinstance(state.get("step"), torch.Tensor) and state["step"].is_cuda
    }


def _count_up(optimizer: Any, before: dict[torch.Tensor, float]) -> None:
    """A checkpoint without a count would not load."""
    for part in parts(optimizer):
        for parameter, state in part.optimizer.state.items():
            step = state.get("step")
            if isinstance(step, torch.Tensor) and step.is_cuda:
                step.copy_(torch.tensor(before.get(parameter, 0.0) + 1))
