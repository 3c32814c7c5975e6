"""The class that a model is, made of megatron-core's, which is named here alone: 0.19 deprecates it (docs/engine.md).

Made of it is one thing more, `custom_modules.model.chunked_loss`, and `custom_modules.model.build` makes both.
"""

from __future__ import annotations

from megatron.core.models.gpt import GPTModel
from torch import Tensor

from custom_modules.model.targets import Targets


class LanguageModel(GPTModel):
    """megatron-core's model, whose loss may be with more targets than the labels."""

    def compute_language_model_loss(self, labels: Tensor | Targets, logits: Tensor) -> Tensor:
        """Return cross-entropies in fp32 nats: ``[b, s]`` of labels, ``[b, s, 1 + T]`` of `Targets`.

        Args:
            labels: ``[b, s]``.
            logits: ``[s, b, v]``, of this tensor-parallel rank's columns.
        """
        if isinstance(labels, Targets):
            return labels.cross_entropies(logits)
        losses: Tensor = super().compute_language_model_loss(labels, logits)
        return losses
