"""A toy: the next token's cross-entropy, but for tokens that repeat the one before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from custom_modules.config.schema import Config

if TYPE_CHECKING:
    from torch import Tensor


class WithoutRepeats:
    """Sums the losses of the tokens that differ from the one before."""

    from_logits = False

    def __init__(self, config: Config) -> None:
        """Take nothing from the config: there is nothing to choose."""

    def __call__(self, output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sum of their losses in fp32 nats, and how many they are."""
        counts = batch["labels"] != batch["tokens"]
        return (output.float() * counts).sum(), counts.sum()
