"""Fine-tuning on conversations: the cross-entropy of the answers' tokens alone (section 6.1 of Danube's report)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from custom_modules.config.schema import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor


class Answers:
    """Sums the losses of the tokens whose ``loss_mask`` is 1; prompts and padding count nothing.

    The engine divides by the count of the whole step, so that a token has the same weight in whatever micro-batch or
    rank it is, and one without an answer has none.
    """

    from_logits = False

    def __init__(self, config: TrainingConfig) -> None:
        """Take nothing from the config: there is nothing to choose."""

    def __call__(self, output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sum of the answers' losses, of ``[b, s]`` in fp32 nats, and their count, int32."""
        import torch

        mask = batch["loss_mask"] > 0
        return torch.where(mask, output.float(), 0.0).sum(), mask.sum().to(torch.int32)
