"""What a step of a distilled run is logged with: sums over micro-batches and ranks, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from custom_modules.config.schema import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Distilled:
    """What is said of a distilled step, or of several, beside the loss."""

    objective: float
    """The mean in nats of what was trained on, over its tokens."""
    wins: dict[str, float]
    """By target, ``ground_truth`` and the teachers: its share of the sequences, or tokens, whose smallest it was."""

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.wins.items())
        return f"objective {self.objective:.4f} ({shares})"


def target_names(config: TrainingConfig) -> tuple[str, ...]:
    """Return the targets of a distilled batch in the order of their numbers; none where no batch has teachers."""
    distillation = config.teaching
    if distillation is None or not distillation.teachers:
        return ()
    return ("ground_truth", *distillation.distributions, *distillation.texts)


def logged_sums(
    loss: Tensor,
    tokens: Tensor | int,
    targets: int,
    objective: Tensor | None = None,
    trained: Tensor | None = None,
    wins: Tensor | None = None,
) -> Tensor:
    """Return the sum of the ground truth's losses and its tokens, the same of what is trained on, and how often each
    target won: fp32 ``[4 + targets]``, without gradient. All but the first two are 0 of a plain batch.

    Args:
        wins: ``[targets]``.
    """
    import torch

    sums = torch.zeros(4 + targets, dtype=torch.float32, device=loss.device)
    sums[0], sums[1] = loss.detach(), tokens
    if objective is not None and trained is not None and wins is not None:
        sums[2], sums[3] = objective.detach(), trained
        sums[4:] = wins
    return sums


def read_logged(sums: Sequence[float], names: Sequence[str]) -> Distilled | None:
    """Return what `logged_sums`, added up, say of a step behind the loss and its tokens; None: it was plain."""
    objective, trained, *wins = sums
    if not trained:
        return None
    return Distilled(objective / trained, {name: won / sum(wins) for name, won in zip(names, wins, strict=True)})
