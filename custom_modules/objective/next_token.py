"""Pre-training: the cross-entropy of every token with the one that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from custom_modules.config.schema import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor


class NextToken:
    """Sums the losses of all tokens of a window; each counts, but where there is a ``loss_mask`` with 0 for it."""

    from_logits = False

    def __init__(self, config: TrainingConfig) -> None:
        """Take nothing from the config: there is nothing to choose."""

    def __call__(self, output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | int]:
        """Return the sum of ``[b, s]`` token losses in fp32 nats, and how many they are: b x s without a mask."""
        import torch

        mask = batch.get("loss_mask")
        if mask is None:
            return output.float().sum(), output.numel()
        return (output.float() * mask).sum(), mask.sum().to(torch.int32)
