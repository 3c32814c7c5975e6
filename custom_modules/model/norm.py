"""The local layers' RMSNorm."""

from __future__ import annotations

import torch
from megatron.core.transformer.transformer_config import TransformerConfig


class RMSNorm(torch.nn.RMSNorm):
    """torch's, in the place of megatron-core's ``WrappedTorchNorm``, which refuses sequence parallelism.

    Under it a rank normalises its part of the sequence only, so the weight's gradient is a part of the whole too. The
    mark makes megatron-core's ``finalize_model_grads`` add the parts up.

    Args:
        config: of the model.
        hidden_size: of a token.
        eps: added to the mean square.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5) -> None:
        super().__init__(hidden_size, eps=eps)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
